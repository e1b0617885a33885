"""Credentials that stand in for real ones: of the right form, their secrets nobody's."""

from __future__ import annotations

from typing import Any, TypeVar

from blocks import Credential, Keyring, TokenCredential
from foundation.errors import CredentialError
from foundation.masking import Masker

C = TypeVar("C", bound=Credential)


def stand_in(name: str, kind: type[Credential]) -> dict[str, Any]:
    """The required fields of a credential of this kind, and those that have an example."""
    return {
        field.name: (kind.model_fields[field.name].examples or [f"stand-in-for-{field.name}-of-{name}"])[0]
        for field in kind.describe_fields()
        if field.required or kind.model_fields[field.name].examples
    }


class StandIns:
    """A `CredentialSource` that has whatever is asked for."""

    def __init__(self, masker: Masker) -> None:
        self._masker, self._keyring = masker, Keyring.generate()

    async def get(self, name: str, kind: type[C]) -> C:
        try:
            credential = kind.from_values(stand_in(name, kind), keyring=self._keyring, masker=self._masker)
        except CredentialError as error:
            raise CredentialError(
                f"no dry run with credentials of type {kind.get_block_type_slug()}; their fields lack examples: {error}"
            ) from None
        credential.open_all()
        if isinstance(credential, TokenCredential):
            credential.use(f"stand-in-for-access-token-of-{name}")
        return credential
