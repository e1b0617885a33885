"""Asking a system whether a credential works: one cheap request that changes nothing."""

from __future__ import annotations

import httpx
import pytest

from connectors.kit.credential_check import check_credential
from connectors.kit.testing import acting, answers
from foundation.errors import RemoteError

WEATHER = {"name": "London", "weather": [{"description": "mist"}], "wind": {"speed": 1}}
WEATHER["main"] = {"temp": 9, "feels_like": 8, "humidity": 80}


@pytest.mark.parametrize(
    ("slug", "fields", "answer", "asked", "said"),
    [
        (
            "slack",
            {"token": "xoxb-secret"},
            {"ok": True, "user": "bot", "team": "Acme"},
            ("POST", "/api/auth.test"),
            "Slack knows the token: bot in Acme",
        ),
        (
            "discord",
            {"webhook_url": "https://discord.com/api/webhooks/1/secret-token"},
            {"name": "Orders", "channel_id": "7"},
            ("GET", "/api/webhooks/1/secret-token"),
            "Discord knows the webhook: Orders of channel 7",
        ),
        (
            "openweather",
            {"api_key": "secret-key"},
            WEATHER,
            ("GET", "/data/2.5/weather"),
            "OpenWeather takes the key: mist in London",
        ),
    ],
)
async def test_a_system_says_whose_credential_it_is(slug, fields, answer, asked, said):
    async with acting(answers(httpx.Response(200, json=answer)), {"mine": fields}) as stage:
        assert await check_credential("mine", slug, stage.services) == said
    [request] = stage.requests
    assert (request.method, request.url.path) == asked


async def test_a_refused_credential_is_an_error_that_does_not_quote_it():
    refusal = httpx.Response(200, json={"ok": False, "error": "invalid_auth"})
    async with acting(answers(refusal), {"mine": {"token": "xoxb-secret"}}) as stage:
        with pytest.raises(RemoteError, match="Slack refused: invalid_auth") as caught:
            await check_credential("mine", "slack", stage.services)
    assert "xoxb" not in str(caught.value)


@pytest.mark.parametrize("slug", ["basic", "webhook-secret", "http"])
async def test_types_without_a_check_send_nothing(slug):
    async with acting() as stage:
        assert await check_credential("mine", slug, stage.services) is None
    assert stage.requests == []
