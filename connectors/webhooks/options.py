"""A webhook's `auth` in a workflow, made into a scheme: a preset, a generic one, or a `custom` record."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, ValidationError

from connectors.webhooks.presets import PRESETS
from connectors.webhooks.scheme import Handshake, HeaderName, Record, Scheme, SignedText
from foundation.duration import Seconds
from foundation.errors import CredentialError, DefinitionError

if TYPE_CHECKING:
    from blocks.credential import Credential  # brings Prefect, which verifying does not need
    from blocks.credential_types import BasicAuth


class Basic(Record):
    """RFC 7617."""

    def scheme(self) -> Scheme:
        return Scheme(name="basic", style="token", signature="header:Authorization", prefix="Basic ", encoding="base64")


class Bearer(Record):
    """RFC 6750."""

    def scheme(self) -> Scheme:
        return Scheme(name="bearer", style="token", signature="header:Authorization", prefix="Bearer ", encoding="text")


class ApiKey(Record):
    header: HeaderName = "X-API-Key"

    def scheme(self) -> Scheme:
        return Scheme(name="api-key", style="token", signature=f"header:{self.header}", encoding="text")


class Hmac(Record):
    """Any sender with a keyed hash. With a `timestamp_header` it signs `{timestamp}.{raw}`, unless `signed` differs."""

    header: HeaderName
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    encoding: Literal["hex", "base64"] = "hex"
    prefix: str = ""
    signed: SignedText | None = None
    timestamp_header: HeaderName | None = None
    timestamp_unit: Literal["s", "ms", "iso"] = "s"
    tolerance: Seconds | None = None
    delivery_header: HeaderName | None = None

    def scheme(self) -> Scheme:
        timed = self.timestamp_header is not None
        return Scheme(
            name="hmac",
            signature=f"header:{self.header}",
            algorithm=self.algorithm,
            encoding=self.encoding,
            prefix=self.prefix,
            signed=(self.signed or ("{timestamp}.{raw}" if timed else "{raw}"),),
            timestamp=f"header:{self.timestamp_header}" if timed else None,
            timestamp_unit=self.timestamp_unit,
            tolerance=self.tolerance or (300 if timed else None),
            delivery=(f"header:{self.delivery_header}",) if self.delivery_header else (),
        )


class Meta(Record):
    """https://developers.facebook.com/docs/graph-api/webhooks/getting-started

    The verify token lets nobody sign: it only tells Meta's question from a stranger's, so it stands in the workflow.
    The app secret, which does sign, is the credential's.
    """

    verify_token: str = Field(min_length=1)

    def scheme(self) -> Scheme:
        return Scheme(
            name="meta",
            signature="header:X-Hub-Signature-256",
            prefix="sha256=",
            handshake=Handshake(
                method="GET",
                signed=False,
                when={"query:hub.mode": "subscribe", "query:hub.verify_token": self.verify_token},
                answer="query:hub.challenge",
            ),
        )


class Untimed(Record):
    """A known sender of which nothing need be said."""


class Timed(Record):
    """A known sender that gives a timestamp."""

    tolerance: Seconds | None = None


GENERIC: Mapping[str, type[Basic | Bearer | ApiKey | Hmac | Meta]] = {
    "api-key": ApiKey,
    "basic": Basic,
    "bearer": Bearer,
    "hmac": Hmac,
    "meta": Meta,
}


def scheme_names() -> tuple[str, ...]:
    """Every word that `auth.scheme` may be, sorted."""
    return tuple(sorted({*PRESETS, *GENERIC, "custom"}))


def build_scheme(name: str, options: Mapping[str, Any] | None = None) -> Scheme:
    """The scheme that `auth` describes; `options` is what stands in it beside `scheme` and `credential`.

    `replay` (`allow`, or the default `refuse`) goes with every scheme that signs; other options are a scheme's own.

    Raises:
        DefinitionError: no such scheme, or wrong options; the message names what is allowed.
    """
    given = {str(key): value for key, value in (options or {}).items()}
    replay = {"replay": given.pop("replay")} if "replay" in given else {}
    record: type[Record] = Scheme
    try:
        if name == "custom":
            return Scheme.model_validate(given | replay)
        if name in GENERIC:
            record = GENERIC[name]
            scheme = GENERIC[name].model_validate(given).scheme()
        elif name in PRESETS:
            record = Timed if PRESETS[name].timestamp else Untimed
            scheme = PRESETS[name].model_copy(update=record.model_validate(given).model_dump(exclude_none=True))
        else:
            raise DefinitionError(f"auth: unknown scheme {name!r}{_nearest(name, scheme_names())}")
        return Scheme.model_validate({**dict(scheme), **replay}) if replay else scheme
    except ValidationError as invalid:
        raise DefinitionError(_fault(name, record, invalid)) from None


def credential_types(scheme: Scheme) -> tuple[str, ...]:
    """The types of credential that hold this scheme's secret."""
    return (scheme.name,) if scheme.name in ("basic", "bearer", "api-key") else ("webhook-secret",)


_FIELDS = {"webhook-secret": "secret", "basic": "password", "bearer": "token", "api-key": "key"}


def accepted_secrets(credential: Credential) -> tuple[str, ...]:
    """The secrets that `verify` takes: the credential's current one, then the `previous` ones.

    Raises:
        CredentialError: it is of a type that senders are not verified with, or can't be opened.
    """
    slug = credential.get_block_type_slug()
    if slug not in _FIELDS:
        raise CredentialError(f"a credential of type {slug} can't verify senders; these can: {', '.join(_FIELDS)}")
    secrets = credential.accepted(_FIELDS[slug])
    if slug == "basic":
        return tuple(f"{cast('BasicAuth', credential).username}:{secret}" for secret in secrets)
    return tuple(secrets)


def secret_headers(scheme: Scheme) -> frozenset[str]:
    """Lower-case names of the headers that prove the sender, by token or signature: not stored with an event."""
    proofs = [each.signature.partition(":") for each in (scheme, *scheme.variants)]
    return frozenset({"authorization", "cookie", *(name.lower() for kind, _, name in proofs if kind == "header")})


def handshake_methods(scheme: Scheme) -> frozenset[str]:
    """The methods a hook must let through to `verify` whatever its workflow's `methods` say."""
    return frozenset({scheme.handshake.method} if scheme.handshake else ())


def _fault(scheme: str, record: type[Record], invalid: ValidationError) -> str:
    faults = invalid.errors(include_url=False, include_input=False)
    first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])  # a typo misses, too
    allowed = sorted(record.model_fields)
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        hint = _nearest(place, allowed) if allowed else "; it takes none"
        return f"auth: the scheme {scheme} has no option {place!r}{hint}"
    if first["type"] == "missing":
        return f"auth: the scheme {scheme} needs the option {place!r}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"auth: {place or f'the scheme {scheme}'}: {reason[:1].lower()}{reason[1:]}"


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}? Known: {', '.join(known)}" if close else f"; known: {', '.join(known)}"
