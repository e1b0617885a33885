"""The base of every credential type: a Prefect block whose secrets are sealed before anything else sees them.

How a secret field is declared matters, because Prefect stores some forms wrongly (tests hold this against the real
server). Two forms survive: `SecretStr`, with `SecretStr("")` as the default when it is optional, and `list[SecretStr]`.
`SecretStr | None` and subclasses of SecretStr are stored as asterisks, and `dict[str, SecretStr]` is shown in the
clear; a type that declares one is refused when it is defined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Final, Self
from uuid import UUID, uuid4

from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockDocument
from pydantic import ConfigDict, PrivateAttr, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, PydanticUndefined

from blocks.keyring import Keyring, default_keyring
from blocks.references import is_reference
from blocks.sealed_text import Place, is_placeholder, is_sealed, parse
from foundation.errors import CredentialError
from foundation.masking import Masker, process_masker

BLOCK_TYPES: Final[dict[str, type[Credential]]] = {}
"""Every credential type by its slug, the name that workflows and `ipaas credentials set --type` use."""

_sealing: ContextVar[tuple[Keyring | None, str, Mapping[str, str | None]]] = ContextVar(
    "sealing", default=(None, "", {})
)
"""The ring, document and bound values of the validation that runs: Prefect's `__init__` drops pydantic's own."""


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


class _Holder:
    """Stands for a credential in the masker, which must not keep it alive."""


class Credential(Block):
    """A named set of secrets. Subclasses set `_block_type_slug`, `_block_type_name` and `_description`.

    Once it is saved, its secrets open only in the document of that name, and only while the fields that `_binds` names
    have the values that they were sealed with.
    """

    model_config = ConfigDict(extra="ignore", validate_assignment=True, hide_input_in_errors=True)

    _keyring: Keyring | None = PrivateAttr(default=None)
    _masker: Masker | None = PrivateAttr(default=None)
    _holder: _Holder = PrivateAttr(default_factory=lambda: _Holder())
    _resolved: dict[str, str] = PrivateAttr(default_factory=dict)
    """What references stand for."""
    _document: str | None = PrivateAttr(default=None)
    """The name that every seal must be bound to; None: Prefect's name, or none yet."""
    _bound: dict[str, str | None] = PrivateAttr(default_factory=dict)
    """The values, as they are stored, that the seals are bound to."""
    _secret_fields: ClassVar[frozenset[str]] = frozenset()
    _binds: ClassVar[tuple[str, ...]] = ()
    """The fields that say where the secrets are sent, such as a header or an address. They are texts, and who changes
    one types the secrets again: else a changed address would get the secrets of the old one."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self._bound = self.bound_values(values)

    @classmethod
    @cache
    def get_block_type_slug(cls) -> str:
        """Prefect's own makes it anew each time, which takes longer than opening a secret."""
        return super().get_block_type_slug()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        declared = {name: field.annotation for name, field in cls.model_fields.items()}
        cls._secret_fields = frozenset(name for name, form in declared.items() if form in (SecretStr, list[SecretStr]))
        for name, form in declared.items():
            if name not in cls._secret_fields and "Secret" in str(form):
                raise TypeError(f"{cls.__name__}.{name}: declare it as SecretStr or list[SecretStr], not {form}")
        for name in cls._binds:
            if declared.get(name) is not str:
                raise TypeError(f"{cls.__name__}._binds: {name} is no field of type str")
        if "_is_base" not in vars(cls):
            BLOCK_TYPES[cls.get_block_type_slug()] = cls  # Prefect warns of a slug that is taken

    @field_validator("*", mode="after")
    @classmethod
    def _seal(cls, value: Any, info: ValidationInfo) -> Any:
        name = info.field_name or ""
        if name not in cls._secret_fields:
            return value
        if isinstance(value, list):
            texts = (item.get_secret_value() for item in value)
            return [cls._sealed(name, text) for text in texts if text]  # "" would let in who sends none
        if not value.get_secret_value():
            if cls.model_fields[name].is_required():
                raise ValueError("must not be empty")
            return value
        return cls._sealed(name, value.get_secret_value())

    @classmethod
    def _sealed(cls, name: str, text: str) -> SecretStr:
        keyring, document, bound = _sealing.get()
        place = Place(cls.get_block_type_slug(), name, document, bound)
        if is_sealed(text):
            try:
                parse(text, place)
            except CredentialError as error:
                raise ValueError(str(error)) from None
            return SecretStr(text)
        if is_placeholder(text):
            raise ValueError("is a masked placeholder, not the secret itself: set it again")
        return SecretStr((keyring or default_keyring()).seal(text, place))

    @classmethod
    def bound_values(cls, data: Mapping[str, Any]) -> dict[str, str | None]:
        """What the seals of a document with this data are bound to: see `Place.bound`."""
        return {
            name: value if (value := data.get(name)) != cls.model_fields[name].get_default() else None
            for name in cls._binds
        }

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
        cls,
        values: Mapping[str, Any],
        *,
        document: str | None = None,
        keyring: Keyring | None = None,
        masker: Masker | None = None,
    ) -> Self:
        """A credential of these values, plain or sealed.

        Args:
            document: whose values they are; what is plain is sealed for it, and what is sealed for another does not
                open. None: it is not saved.
            keyring: opens them; None: this process's own.
            masker: learns what is opened; None: this process's own.

        Raises:
            CredentialError: a field is missing, unknown or wrong; the message names the fields, never their values.
        """
        slug = cls.get_block_type_slug()
        if unknown := sorted(str(name) for name in values.keys() - cls.model_fields.keys()):
            raise CredentialError(
                f"a credential of type {slug} has no field {', '.join(unknown)}: it has {', '.join(cls.model_fields)}"
            )
        token = _sealing.set((keyring, document or "", cls.bound_values(values) if document else {}))
        try:
            credential = cls.model_validate(dict(values))
        except ValidationError as error:
            faults = error.errors(include_input=False, include_url=False, include_context=False)
            said = [": ".join(filter(None, (".".join(map(str, fault["loc"])), cls._said(fault)))) for fault in faults]
            raise CredentialError(f"a credential of type {slug} is not valid: {'; '.join(said)}") from None
        finally:
            _sealing.reset(token)
        credential._document, credential._keyring, credential._masker = document, keyring, masker
        return credential

    @classmethod
    def _said(cls, fault: ErrorDetails) -> str:
        if fault["type"] == "missing" and fault["loc"][0] in cls._secret_fields:
            return "is missing; secrets are given again with every change"
        return fault["msg"].removeprefix("Value error, ")

    def open_all(self) -> None:
        """Opens every secret, so that one that can't be opened is known now and all are masked from now on.

        Raises:
            CredentialError: as `reveal`.
        """
        for name in self.secret_fields():
            value = getattr(self, name)
            items = value if isinstance(value, list) else [value]
            if any(is_reference(secret) and secret not in self._resolved for secret in self._opened(name, items)):
                continue  # what it refers to is not known yet
            if isinstance(value, list):
                for item in value:
                    self._open(name, item)
            else:
                self.reveal(name)

    def references(self) -> list[str]:
        """What its secrets refer to, as in `env:NAME`: each is kept elsewhere, and asked for when it is used.

        Raises:
            CredentialError: as `reveal`.
        """
        found: list[str] = []
        for name in self.secret_fields():
            value = getattr(self, name)
            found += filter(is_reference, self._opened(name, value if isinstance(value, list) else [value]))
        return found

    def resolve(self, values: Mapping[str, str]) -> None:
        """Gives it what its references stand for now. That is kept in this process alone."""
        if values != self._resolved:
            self._resolved = dict(values)
            self.open_all()

    def forget(self) -> None:
        """Ends the masking of what was opened, for a credential that was replaced: what another one shares with it
        stays masked. Until its secrets are out of use everywhere, don't."""
        (self._masker or process_masker).release(self._holder)

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
        secrets = [self.reveal(field), *(self._open("previous", item) for item in getattr(self, "previous", []))]
        return [secret for secret in secrets if secret]

    def _open(self, field: str, value: SecretStr) -> str:
        sealed = value.get_secret_value()
        if not sealed:
            return ""
        [secret] = self._opened(field, [value])
        if is_reference(secret):
            if secret not in self._resolved:
                raise CredentialError(f"{field} refers to {secret}, which is asked for when an action uses it")
            secret = self._resolved[secret]
        self._hide(secret)
        return secret

    def _opened(self, field: str, values: Iterable[SecretStr]) -> list[str]:
        """What was sealed: secrets, or references to them."""
        ring, places = self._keyring or default_keyring(), self._places(field)
        return [ring.open(sealed, *places) for value in values if (sealed := value.get_secret_value())]

    def _hide(self, text: str) -> None:
        """Masks `text`, which shows a secret, until this credential is forgotten."""
        (self._masker or process_masker).add(text, holder=self._holder)

    def _places(self, field: str) -> list[Place]:
        slug = self.get_block_type_slug()
        bound = Place(slug, field, self._document or self._block_document_name or "", self._bound)
        # What Python code made, or Prefect loaded and found unsealed, was sealed before it had a name.
        return [bound] if self._document else [bound, Place(slug, field)]

    def _to_block_document(
        self,
        name: str | None = None,
        block_schema_id: UUID | None = None,
        block_type_id: UUID | None = None,
        is_anonymous: bool | None = None,
        include_secrets: bool = False,
    ) -> BlockDocument:
        """What Prefect stores, each secret bound to the document.

        Raises:
            CredentialError: a secret was sealed for another document, or for other values of the fields it is bound to.
        """
        document = super()._to_block_document(name, block_schema_id, block_type_id, is_anonymous, include_secrets)
        if include_secrets:
            document.name = document.name or f"anonymous-{uuid4()}"  # as Prefect names one
            self._bind(document)
        return document

    def _bind(self, document: BlockDocument) -> None:
        slug, ring = self.get_block_type_slug(), self._keyring or default_keyring()
        bound = self.bound_values(document.data)

        def moved(field: str, sealed: str) -> str:
            place = Place(slug, field, document.name or "", bound)
            return ring.seal(ring.open(sealed, place, Place(slug, field)), place) if sealed else sealed

        for field in self.secret_fields():
            value = getattr(self, field)
            if isinstance(value, list):
                document.data[field] = [moved(field, item.get_secret_value()) for item in value]
            else:
                document.data[field] = moved(field, value.get_secret_value())


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
