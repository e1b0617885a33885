"""`env:NAME` and `file:PATH`: secrets that whoever runs the process hands to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from foundation.errors import CredentialError

MAX_BYTES: Final = 65_536
_OWN: Final = ("IPAAS_", "PREFECT_", "AWS_", "VAULT_")
"""Who may write a credential must not read with it what the platform itself is run with."""


class Environment:
    """`env:NAME`"""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ if environment is None else environment

    async def read(self, where: str) -> str:
        if where.upper().startswith(_OWN):
            raise CredentialError(f"env:{where} is the platform's own: give the secret another name")
        if not self._environment.get(where):
            raise CredentialError(f"the environment has no {where}: set it where workers and gateways run")
        return self._environment[where]


class Files:
    """`file:PATH`, within some folders only. A line end at the end of the file is no part of the secret."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [folder.resolve() for folder in folders]

    async def read(self, where: str) -> str:
        path = next((one for folder in self._folders if (one := self._within(folder, where))), None)
        if path is None:
            within = ", ".join(map(str, self._folders))
            raise CredentialError(f"file:{where} is in none of the folders of IPAAS_SECRETS_DIRS ({within})")
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise CredentialError(f"can't read {path}: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise CredentialError(f"{path} is larger than {MAX_BYTES} bytes")
        try:
            return content.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise CredentialError(f"{path} is no text") from None

    @staticmethod
    def _within(folder: Path, where: str) -> Path | None:
        """Where the path leads, through links too, if that is in the folder."""
        path = (folder / where).resolve()
        return path if path.is_relative_to(folder) else None
