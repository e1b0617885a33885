"""Credentials of a Prefect that is away."""

from contextlib import AbstractAsyncContextManager

import pytest
from prefect.client.orchestration import PrefectClient
from prefect_client import prefect_client

from blocks import Keyring, PrefectCredentials, load_credential, save_credential
from connectors.slack import SlackCredential
from foundation.clock import ManualClock
from foundation.errors import CredentialError

RING = Keyring.generate()


async def test_a_credential_that_was_never_loaded_may_come_later() -> None:
    credentials = PrefectCredentials(RING, clock=ManualClock(), connect=prefect_client)
    with pytest.raises(CredentialError, match="can't be reached for credentials") as caught:
        await credentials.get("team-slack", SlackCredential)
    assert caught.value.retriable


@pytest.mark.parametrize("name", ["Team-Slack", "team_slack", "", "-x", "a/b", "ä"])
async def test_a_name_that_prefect_would_not_take_is_refused_before_asking(name: str) -> None:
    asked = []

    def connect() -> AbstractAsyncContextManager[PrefectClient]:
        asked.append(name)
        return prefect_client()

    for asking in (
        load_credential(name, SlackCredential, keyring=RING, connect=connect),
        save_credential(name, SlackCredential, {"token": "xoxb-1"}, keyring=RING, connect=connect),
    ):
        with pytest.raises(CredentialError, match="use lowercase letters, digits and dashes"):
            await asking
    assert asked == []
