"""The base of every credential type: a Prefect block whose secrets are sealed before anything else sees them.

How a secret field is declared matters, because Prefect stores some forms wrongly (tests hold this against the real
server). Two forms survive: `SecretStr`, with `SecretStr("")` as the default when it is optional, and `list[SecretStr]`.
`SecretStr | None` and subclasses of SecretStr are stored as asterisks, and `dict[str, SecretStr]` is shown in the
clear; a type that declares one is refused when it is defined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Self

from prefect.blocks.core import Block
from pydantic import ConfigDict, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticUndefined

from blocks.keyring import Keyring, default_keyring
from foundation.errors import CredentialError
from foundation.masking import Masker, process_masker

BLOCK_TYPES: Final[dict[str, type[Credential]]] = {}
"""Every credential type by its slug, the name that workflows and `ipaas credentials set --type` use."""

_sealing: ContextVar[Keyring | None] = ContextVar("sealing", default=None)
"""The ring of the validation that runs: Prefect's own `__init__` drops pydantic's validation context."""
_PLACEHOLDER = re.compile(r"\*{4,}")


@dataclass(frozen=True)
class CredentialField:
    """One field of a credential type, for prompts and forms."""

    name: str
    title: str
    description: str
    secret: bool
    required: bool
    many: bool
    """A list of values."""
    default: Any
    """None for a required field, and "" for an optional secret."""


class Credential(Block):
    """A named set of secrets. Subclasses set `_block_type_slug`, `_block_type_name` and `_description`."""

    model_config = ConfigDict(extra="ignore", validate_assignment=True, hide_input_in_errors=True)

    _keyring: Keyring | None = PrivateAttr(default=None)
    _masker: Masker | None = PrivateAttr(default=None)
    _secret_fields: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        declared = {name: field.annotation for name, field in cls.model_fields.items()}
        cls._secret_fields = frozenset(name for name, form in declared.items() if form in (SecretStr, list[SecretStr]))
        for name, form in declared.items():
            if name not in cls._secret_fields and "Secret" in str(form):
                raise TypeError(f"{cls.__name__}.{name}: declare it as SecretStr or list[SecretStr], not {form}")
        BLOCK_TYPES[cls.get_block_type_slug()] = cls  # Prefect warns of a slug that is taken

    @field_validator("*", mode="after")
    @classmethod
    def _seal(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        if name not in cls._secret_fields:
            return value
        if isinstance(value, list):
            return [cls._sealed(name, item.get_secret_value()) for item in value]
        if not value.get_secret_value():
            if cls.model_fields[name].is_required():
                raise ValueError("must not be empty")
            return value
        return cls._sealed(name, value.get_secret_value())

    @classmethod
    def _sealed(cls, name: str, text: str) -> SecretStr:
        slug = cls.get_block_type_slug()
        if Keyring.is_sealed(text):
            try:
                Keyring.check_sealed(text, block_type=slug, field=name)
            except CredentialError as error:
                raise ValueError(str(error)) from None
            return SecretStr(text)
        if is_placeholder(text):
            raise ValueError("is a masked placeholder, not the secret itself: set it again")
        return SecretStr((_sealing.get() or default_keyring()).seal(text, block_type=slug, field=name))

    @classmethod
    def secret_fields(cls) -> list[str]:
        """The names of the fields that are sealed, in the order of their declaration."""
        return [name for name in cls.model_fields if name in cls._secret_fields]

    @classmethod
    def describe_fields(cls) -> list[CredentialField]:
        """What a person needs to know to fill the type in, in the order of the fields' declaration."""
        described = []
        for name, field in cls.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            if isinstance(default, SecretStr):
                default = default.get_secret_value()
            described.append(
                CredentialField(
                    name=name,
                    title=field.title or name.replace("_", " ").capitalize(),
                    description=field.description or "",
                    secret=name in cls._secret_fields,
                    required=field.is_required(),
                    many=field.annotation == list[SecretStr],
                    default=None if default is PydanticUndefined else default,
                )
            )
        return described

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], *, keyring: Keyring | None = None, masker: Masker | None = None
    ) -> Self:
        """A credential of these values, plain or sealed, that opens with `keyring` and registers what it opens with
        `masker`; None: this process's own.

        Raises:
            CredentialError: a field is missing, unknown or wrong; the message names the fields, never their values.
        """
        slug = cls.get_block_type_slug()
        if unknown := sorted(str(name) for name in values.keys() - cls.model_fields.keys()):
            raise CredentialError(
                f"a credential of type {slug} has no field {', '.join(unknown)}: it has {', '.join(cls.model_fields)}"
            )
        token = _sealing.set(keyring)
        try:
            credential = cls.model_validate(dict(values))
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
            said = [
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}" for fault in faults
            ]
            raise CredentialError(f"a credential of type {slug} is not valid: {'; '.join(said)}") from None
        finally:
            _sealing.reset(token)
        credential._keyring, credential._masker = keyring, masker
        return credential

    def open_all(self) -> None:
        """Opens every secret, so that one that can't be opened is known now and all are masked from now on.

        Raises:
            CredentialError: as `reveal`.
        """
        for name in self.secret_fields():
            value = getattr(self, name)
            if isinstance(value, list):
                for item in value:
                    self._open(name, item)
            else:
                self.reveal(name)

    def reveal(self, field: str) -> str:
        """The field's secret in the clear, masked in this process from now on; "" for an optional one that is not set.

        Raises:
            CredentialError: it can't be opened.
        """
        return self._open(field, getattr(self, field))

    def accepted(self, field: str) -> list[str]:
        """The field's secret and, where the type has them, the `previous` ones that senders may still use.

        Raises:
            CredentialError: one of them can't be opened.
        """
        return [self.reveal(field), *(self._open("previous", item) for item in getattr(self, "previous", []))]

    def _open(self, field: str, value: SecretStr) -> str:
        sealed = value.get_secret_value()
        if not sealed:
            return ""
        keyring = self._keyring or default_keyring()
        secret = keyring.open(sealed, block_type=self.get_block_type_slug(), field=field)
        (self._masker or process_masker).add(secret)
        return secret


def seal_document_data(slug: str, data: Mapping[str, Any], keyring: Keyring) -> dict[str, Any]:
    """A block document's raw `data`, as Prefect's API takes it, with the secrets of a credential type sealed.

    What is sealed already stays as it is, and so does a placeholder (`********`), which Prefect's server takes for
    "unchanged"; in a list, where it would not, a placeholder is left out. Data of any other block type stays as it is.
    """
    kind = BLOCK_TYPES.get(slug)
    if kind is None:
        return dict(data)

    def sealed(name: str, value: Any) -> str:
        text = value if isinstance(value, str) else json.dumps(value)
        if not text or Keyring.is_sealed(text):
            return text
        return keyring.seal(text, block_type=slug, field=name)

    result = dict(data)
    for name in kind.secret_fields():
        value = result.get(name)
        if value is None or is_placeholder(value):
            continue
        if kind.model_fields[name].annotation == list[SecretStr]:
            items = value if isinstance(value, list) else [value]
            result[name] = [sealed(name, item) for item in items if item and not is_placeholder(item)]
        else:
            result[name] = sealed(name, value)
    return result


def is_placeholder(value: Any) -> bool:
    """Whether this is what Prefect or pydantic show instead of a secret."""
    return isinstance(value, str) and _PLACEHOLDER.fullmatch(value) is not None


def credential_type(slug: str) -> type[Credential]:
    """The credential type of that slug.

    Raises:
        CredentialError: there is none; the message lists those that there are.
    """
    try:
        return BLOCK_TYPES[slug]
    except KeyError:
        raise CredentialError(
            f"there is no credential type {slug!r}: choose one of {', '.join(sorted(BLOCK_TYPES))}"
        ) from None
