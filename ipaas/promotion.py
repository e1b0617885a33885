"""Whether workflows can go to another platform: what they name and that platform lacks, known before a deploy.

Workflows name credentials; each platform has its own of those names. The other platform's gateway is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import httpx
from pydantic import ValidationError

from flows.history import WorkflowVersion
from foundation.errors import ConfigurationError, DefinitionError
from foundation.settings import Settings
from ipaas.credentials import CredentialList, CredentialView, missing, used_by
from ipaas.platform.environment import Addresses

SECONDS: Final = 15.0


async def missing_there(versions: Iterable[WorkflowVersion], target: str, settings: Settings) -> list[DefinitionError]:
    """What the workflows lack at the target.

    Args:
        target: a platform's home, or its gateway's URL.

    Raises:
        ConfigurationError: the target can't be asked.
    """
    known, there = list(versions), await _credentials_at(target, settings)
    found, users = missing(known, [(one.name, one.type) for one in there]), used_by(known)
    for one in filter(_waits_for_a_person, there):
        found += [user.lacks("is there, and nobody has connected it") for user in users.get(one.name, ())]
    return found


def _waits_for_a_person(one: CredentialView) -> bool:
    if one.type != "oauth2" or one.fields.get("grant") == "client_credentials":
        return False
    if one.tokens is None or one.tokens.state == "none":
        return not one.fields.get("refresh_token")
    return one.tokens.state == "lost"


async def _credentials_at(target: str, settings: Settings) -> list[CredentialView]:
    url, token = _place(target, settings)
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        try:
            answer = await client.get(f"{url}/api/credentials", headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError as error:
            raise ConfigurationError(f"the gateway at {url} does not answer ({type(error).__name__})") from None
    if answer.status_code in (401, 403):
        raise ConfigurationError(f"the gateway at {url} wants another token: set IPAAS_AGAINST_TOKEN to one of its own")
    try:
        answer.raise_for_status()
        return CredentialList.model_validate_json(answer.content).items
    except (httpx.HTTPStatusError, ValidationError):
        raise ConfigurationError(
            f"the gateway at {url} does not tell its credentials (status {answer.status_code}): is it of this version?"
        ) from None


def _place(target: str, settings: Settings) -> tuple[str, str]:
    """The gateway's address, and a token for it."""
    given = settings.against_token or settings.api_token
    token = given.get_secret_value() if given else None
    if target.startswith(("http://", "https://")):
        if token is None:
            raise ConfigurationError("set IPAAS_AGAINST_TOKEN to an API token of that platform; one that reads will do")
        return target.rstrip("/"), token
    home = settings.model_copy(update={"home": Path(target).expanduser().absolute()})
    addresses = Addresses.read(home)
    if addresses is None:
        raise ConfigurationError(f"no platform runs in {target}: start `ipaas up` there, or give its gateway's URL")
    try:
        token = token if settings.against_token else home.token_file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"can't read {home.token_file}: {error.strerror}") from None
    return addresses.gateway, token or ""
