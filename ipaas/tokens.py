"""The management API's bearer tokens."""

from __future__ import annotations

import os
import secrets

from foundation.errors import ConfigurationError
from foundation.settings import Settings


def full_tokens(settings: Settings) -> tuple[str, ...]:
    """The tokens that may do everything: the setting's, else the one in the home's file, made now if there is none.

    Raises:
        ConfigurationError: the file can't be read or made.
    """
    if settings.api_token:
        return (settings.api_token.get_secret_value(),)
    return (_token_of_home(settings),)


def read_tokens(settings: Settings) -> tuple[str, ...]:
    """The tokens that may only read."""
    return (settings.api_read_token.get_secret_value(),) if settings.api_read_token else ()


def _token_of_home(settings: Settings) -> str:
    path = settings.token_file
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            token = path.read_text().strip()
        else:
            token = secrets.token_urlsafe(32)
            with os.fdopen(descriptor, "w") as file:
                file.write(token + "\n")
    except OSError as error:
        raise ConfigurationError(f"can't use the API token file {path}: {error.strerror}") from None
    if not token:
        raise ConfigurationError(f"the API token file {path} is empty: remove it, and a new one is made")
    return token
