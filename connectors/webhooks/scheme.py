"""A webhook scheme as data: where a sender puts its signature, what it signs, and how old that may be.

Two small languages keep every vendor a record:

A **source** says where a value is: `header:NAME`, `query:NAME`, `body:path.to.value` (JSON), or `field:NAME`, the
`NAME=…` item of a signature that is a list (`t=…,v1=…`).

A **signed** text says which bytes are signed. What stands in braces is replaced, all else is literal:
`{raw}` (the exact body), `{timestamp}`, `{delivery}` (the delivery's id), `{method}`, `{url}` and a few forms of it
(`PARTS`), or any source, as in `{header:X-Nonce}`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from foundation.duration import Seconds

Style = Literal["hmac", "token", "ed25519", "ecdsa"]
Encoding = Literal["hex", "base64", "text"]
Replay = Literal["refuse", "allow"]

PARTS = frozenset({"raw", "timestamp", "delivery", "method", "url", "url-with-port", "url-without-port", "url-decoded"})
"""What `{…}` may name in a signed text, besides a source and `{twilio-body}`."""
BODY_PARTS = frozenset({"raw", "twilio-body"})
"""The parts that cover the body."""
OF_ANY_TEXT = BODY_PARTS | {"url", "url-with-port", "url-without-port", "url-decoded"}
"""The parts that may hold whatever stands after them, too."""
SOURCES = ("header", "query", "body", "field")

_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"


def _source(text: str) -> str:
    kind, colon, name = text.partition(":")
    if kind not in SOURCES or not colon or not name.strip():
        raise ValueError(f"{text!r} is not a source; write one of {', '.join(f'{kind}:NAME' for kind in SOURCES)}")
    if kind == "header" and not re.fullmatch(_HEADER_NAME, name):
        raise ValueError(f"{name!r} can't be a header's name")
    return text


def _answer(answer: str | Mapping[str, str | int]) -> str | Mapping[str, str | int]:
    for value in [answer] if isinstance(answer, str) else answer.values():
        if isinstance(value, str):
            _source(value if value is answer else value.removeprefix("hmac:"))
    return answer


@lru_cache(maxsize=256)
def parts(signed: str) -> tuple[tuple[str, bool], ...]:
    """A signed text in pieces: `(text, whether it is a part's name)`, empty literals left out."""
    pieces = re.split(r"\{([^{}]*)\}", signed)
    return tuple((piece, index % 2 == 1) for index, piece in enumerate(pieces) if piece or index % 2)


def _signed(text: str) -> str:
    for piece, named in parts(text):
        if not named and ("{" in piece or "}" in piece):
            raise ValueError(f"{text!r} has an unmatched brace")
        if named and ":" in piece:
            _source(piece)
        elif named and piece not in PARTS | BODY_PARTS:
            known = ", ".join(sorted(PARTS | BODY_PARTS))
            raise ValueError(
                f"{{{piece}}} is not known in a signed text; known are {known} and sources such as header:NAME"
            )
    return text


def has_firm_borders(signed: str) -> bool:
    """Whether the bytes that are signed can be cut into their parts in one way only.

    A timestamp has a fixed form. Any other part ends where the next literal begins (`Reading.message` refuses one that
    holds that literal). One part of a text may be without an end: the bytes that are left are its own.
    """
    pieces, open_ended = parts(signed), False
    for index, (piece, named) in enumerate(pieces):
        if not named or piece == "timestamp":
            continue
        if open_ended:
            return False
        followed = index + 1 < len(pieces) and not pieces[index + 1][1]
        open_ended = piece in OF_ANY_TEXT or not followed
    return True


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


HeaderName = Annotated[str, Field(pattern=f"^{_HEADER_NAME}$")]
Source = Annotated[str, AfterValidator(_source)]
SignedText = Annotated[str, AfterValidator(_signed)]


class Record(BaseModel):
    """Immutable, and strict about what it doesn't know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Handshake(Record):
    """A request by which the sender asks whether the hook is ours. It is answered; no event is stored.

    In `answer` a string is a source, or `hmac:` and a source for its HMAC under the secret, in hex; a number is itself.
    """

    when: Annotated[Mapping[Source, str | int], Field(min_length=1)]
    """It is a handshake if each source has this value."""
    answer: Annotated[str | Mapping[str, str | int], AfterValidator(_answer)]
    """A mapping is answered as JSON, a string as plain text."""
    method: str = "POST"
    signed: bool = True
    """False: the sender can't sign this request; `when` must then hold what only the sender knows."""

    @model_validator(mode="after")
    def _signs_nothing_for_strangers(self) -> Handshake:
        values = [self.answer] if isinstance(self.answer, str) else self.answer.values()
        if not self.signed and any(str(value).startswith("hmac:") for value in values):
            raise ValueError("an unsigned handshake can't be answered with hmac: anyone could have anything signed")
        return self


class Scheme(Record):
    name: str = "custom"
    style: Style = "hmac"
    """hmac: keyed hash; token: the secret itself; ed25519, ecdsa (P-256, SHA-256, DER): the secret is a public key."""
    signature: Source
    """Where the signature, or the token, is."""
    prefix: str = ""
    """What stands before each signature; compared without regard to case."""
    separator: str | None = Field(default=None, min_length=1)
    """The signature is a list, split by this; the items that start with `prefix` are signatures."""
    encoding: Encoding = "hex"
    """How the signature is written. `text` is for tokens only."""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    signed: Annotated[tuple[SignedText, ...], BeforeValidator(_several), Field(min_length=1)] = ("{raw}",)
    """What is signed; of several, any may be."""
    key: Literal["utf8", "base64", "hex"] = "utf8"
    """How the secret is written. A public key is its 32 bytes (ed25519), or its SubjectPublicKeyInfo (ecdsa)."""
    key_prefix: str = ""
    """Taken off the secret before that, when it is there."""
    timestamp: Source | None = None
    timestamp_unit: Literal["s", "ms", "iso"] = "s"
    tolerance: Seconds | None = None
    """Seconds the timestamp may be off, either way. None: not checked."""
    delivery: Annotated[tuple[Source, ...], BeforeValidator(_several)] = ()
    """Where the sender's id of this delivery is; of several, the first that is there."""
    replay: Replay = "refuse"
    """refuse: what is signed counts once, whatever id comes with it. allow: for senders that repeat equal bodies and
    mean each of them."""
    handshake: Handshake | None = None
    variants: tuple[Scheme, ...] = ()
    """Further schemes, each for the secrets that start with its `key_prefix`."""

    @model_validator(mode="after")
    def _is_sound(self) -> Scheme:
        named_by_text = [{piece for piece, is_part in parts(text) if is_part} for text in self.signed]
        named = set().union(*named_by_text)
        if not self.is_signed and not self.signature.startswith("header:"):
            raise ValueError("a token must be in a header: anywhere else it would be stored with the event")
        if self.is_signed and self.encoding == "text":
            raise ValueError("the encoding text is for tokens; a signature is hex or base64")
        if self.is_signed and not all(each & (BODY_PARTS | {"delivery"}) for each in named_by_text):
            raise ValueError("signed must cover {raw}, or {delivery} if the sender signs a token that is used once")
        if self.style in ("ed25519", "ecdsa") and self.key == "utf8":
            raise ValueError("a public key is written in base64 or hex: set key")
        if "timestamp" in named and not self.timestamp:
            raise ValueError("signed names {timestamp}, but timestamp does not say where it is")
        if "delivery" in named and len(self.delivery) != 1:
            raise ValueError("signed names {delivery}, but delivery does not say the one place where it is")
        if self.tolerance is not None and not self.timestamp:
            raise ValueError("a tolerance needs a timestamp: say where it is")
        if self.tolerance is not None and not self.covers(self.timestamp or ""):
            raise ValueError("a tolerance needs a timestamp that is signed: any other could be set anew by anyone")
        if self.replay == "allow" and not self.is_signed:
            raise ValueError(f"replay is for signatures; {self.name} sends its secret along and signs nothing")
        fields = [source for source in (self.timestamp, *self.delivery, *named) if (source or "").startswith("field:")]
        if fields and not self.separator:
            raise ValueError("a field: source needs a separator: the signature must be a list")
        if self.signature.startswith("field:"):
            raise ValueError("signature can't be a field of itself; write header:NAME, separator and prefix")
        return self

    @property
    def is_signed(self) -> bool:
        """Whether the delivery itself is signed, not just sent with a token."""
        return self.style != "token"

    @property
    def covers_url(self) -> bool:
        return any(piece.startswith("url") for text in self.signed for piece, is_part in parts(text) if is_part)

    def covers(self, source: str) -> bool:
        """Whether what stands at the source is part of what is signed, in each form that the scheme signs."""
        return self.is_signed and all(self._is_covered(source, text) for text in self.signed)

    def _is_covered(self, source: str, text: str) -> bool:
        named = {piece for piece, is_part in parts(text) if is_part}
        by_role = {"timestamp": self.timestamp, "delivery": self.delivery[0] if self.delivery else None}
        whole = {"body": "raw", "query": "url"}.get(source.partition(":")[0])
        return source in named or whole in named or any(by_role[role] == source for role in by_role.keys() & named)

    @property
    def signs_delivery_id(self) -> bool:
        """Whether a delivery's id can't be replaced: it is part of what is signed, and stays where it is in there."""
        return (
            bool(self.delivery)
            and all(self.covers(source) for source in self.delivery)
            and all(has_firm_borders(text) for text in self.signed)
        )

    @property
    def spends_delivery_id(self) -> bool:
        """Whether only a token is signed, and not the body: the token counts once, wherever it comes again."""
        return self.is_signed and not all(
            {piece for piece, is_part in parts(text) if is_part} & BODY_PARTS for text in self.signed
        )
