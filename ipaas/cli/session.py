"""What commands begin with: the settings, the running platform, an event loop, documents that are read.

The settings' libraries are imported by the first command that reads them: `--help` shows none.
"""

from __future__ import annotations

import asyncio
import json
import sys
import warnings
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from foundation.errors import ConfigurationError, IpaasError
from foundation.private_files import keep_files_private

if TYPE_CHECKING:
    from foundation.settings import Settings

T = TypeVar("T")


class InputError(IpaasError):
    """A document that was given to a command is not what the command takes."""

    code = "input"


def read_settings() -> Settings:
    """Raises ConfigurationError, naming the variable."""
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from foundation.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        name = "__".join(str(part) for part in fault["loc"]).upper()
        raise ConfigurationError(f"IPAAS_{name}: {fault['msg']}") from None
    except SettingsError as error:
        raise ConfigurationError(str(error)) from None


def connect() -> Settings:
    """The settings, with this process pointed at the platform that runs in the home; what it writes there is for its
    owner only. To be called before Prefect is imported.

    Raises:
        ConfigurationError: a setting is wrong, or the home can't be read.
    """
    from ipaas.platform.environment import use_running_platform

    settings = read_settings()
    keep_files_private()
    use_running_platform(settings)
    # Prefect warns of a home that is not there when it is imported; the command says itself what is missing.
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory", category=UserWarning)
    return settings


def ui_url(settings: Settings) -> str | None:
    """Prefect's UI, for links."""
    from ipaas.platform.environment import Addresses

    addresses = Addresses.read(settings)
    return settings.prefect_ui_url or (addresses.prefect_ui if addresses else None)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs it to its end; Ctrl-C is exit code 130."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def the_json(text: str, name: str) -> Any:
    """The JSON document that a text is. Raises InputError."""
    try:
        return json.loads(text)
    except ValueError as error:  # not shown whole: what is wrong may be a secret
        place = f": line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{name} is not JSON{place}") from None


def read_json(source: str) -> Any:
    """The JSON document in a file, or on standard input for `-`.

    Raises:
        InputError: it can't be read, or is not JSON.
    """
    name = "standard input" if source == "-" else source
    try:
        return the_json(sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8"), name)
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{name} is not JSON: it is no UTF-8") from None
