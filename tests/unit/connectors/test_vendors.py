"""What is special about each vendor, beyond what all have in common (`test_conformance.py`)."""

from __future__ import annotations

import httpx
import pytest

from connectors import discord, openweather, slack, transform
from connectors.kit.retry import RetryPolicy
from connectors.kit.testing import acting, answers
from foundation.errors import ActionError, CredentialError, ExpressionError, RemoteError

SLACK = {"team": {"token": "xoxb-1234"}}
POSTED = httpx.Response(200, json={"ok": True, "ts": "1.2", "channel": "C1", "message": {}})
DISCORD = {"room": {"webhook_url": "https://discord.com/api/webhooks/42/tok-1234?thread_id=7"}}
DISCORD_POSTED = httpx.Response(200, json={"id": "1", "channel_id": "2"})
WEATHER = {"owm": {"api_key": "0123456789abcdef"}}


@pytest.mark.parametrize(
    ("connector", "base", "url"),
    [
        ("slack", "http://127.0.0.1:9/proxy/", "http://127.0.0.1:9/proxy/api/chat.postMessage"),
        ("discord", "http://127.0.0.1:9", "http://127.0.0.1:9/api/webhooks/42/tok-1234?thread_id=7&wait=true"),
        (
            "openweather",
            "http://127.0.0.1:9",
            "http://127.0.0.1:9/data/2.5/weather?q=Rome&units=imperial&appid=0123456789abcdef",
        ),
    ],
)
async def test_the_operator_may_point_a_connector_elsewhere(connector, base, url) -> None:
    calls = {
        "slack": lambda: slack.post_message(channel="C1", text="hi", credential="team"),
        "discord": lambda: discord.post_message(content="hi", credential="room"),
        "openweather": lambda: openweather.current_weather(city="Rome", units="imperial", credential="owm"),
    }
    handler = answers(httpx.Response(404))
    async with acting(handler, {**SLACK, **DISCORD, **WEATHER}, base_urls={connector: base}) as stage:
        with pytest.raises(RemoteError, match=r"127\.0\.0\.1:9"):
            await calls[connector]()
    assert str(stage.requests[0].url) == url


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"error": "not_in_channel"}, "not_in_channel; invite the app to the channel"),
        ({"error": "missing_scope", "needed": "chat:write"}, r"missing_scope \(needed: chat:write\); give the app"),
        ({"error": "something_new"}, "Slack refused: something_new$"),
        ({}, "unknown_error"),
    ],
)
async def test_slacks_word_comes_with_what_to_do(answer, message) -> None:
    async with acting(answers(httpx.Response(200, json={"ok": False, **answer})), SLACK):
        with pytest.raises(RemoteError, match=message) as error:
            await slack.post_message(channel="C1", text="hi", credential="team")
    assert not error.value.retriable


@pytest.mark.parametrize(("word", "on"), [("ratelimited", 429), ("service_unavailable", "5xx")])
async def test_slacks_words_for_trouble_of_its_own_are_retried(word, on) -> None:
    trouble = httpx.Response(200, headers={"retry-after": "9"}, json={"ok": False, "error": word})
    async with acting(answers(trouble, POSTED), SLACK, policy=RetryPolicy(attempts=2, on=(on,))) as stage:
        assert (await slack.post_message(channel="C1", text="hi", credential="team"))["ts"] == "1.2"
    assert stage.clock.slept == [9]


async def test_a_message_needs_something_to_say() -> None:
    async with acting(credentials={**SLACK, **DISCORD}) as stage:
        with pytest.raises(ActionError, match="text, blocks or both"):
            await slack.post_message(channel="C1", credential="team")
        with pytest.raises(ActionError, match="content, embeds or both"):
            await discord.post_message(credential="room")
    assert stage.requests == []


@pytest.mark.parametrize("answer", [{"ok": True}, {"ok": True, "ts": "1"}])
async def test_an_answer_of_slack_that_lacks_what_it_promises_fails(answer) -> None:
    async with acting(answers(httpx.Response(200, json=answer)), SLACK):
        with pytest.raises(RemoteError, match=r"without '(ts|channel)'"):
            await slack.post_message(channel="C1", text="hi", credential="team")


async def test_a_webhooks_own_query_is_kept() -> None:
    async with acting(answers(DISCORD_POSTED), DISCORD) as stage:
        await discord.post_message(content="hi", credential="room")
    assert dict(stage.requests[0].url.params) == {"thread_id": "7", "wait": "true"}


@pytest.mark.parametrize("url", ["discord.com/api/webhooks/1/tok-1234", "https://discord.com/tok-1234", "xx tok-1234"])
async def test_a_credential_that_is_no_webhook_url_is_refused_without_showing_it(url) -> None:
    async with acting(credentials={"room": {"webhook_url": url}}):
        with pytest.raises(CredentialError, match="'room': webhook_url must be like") as error:
            await discord.post_message(content="hi", credential="room")
    assert "tok-1234" not in str(error.value)


@pytest.mark.parametrize("answer", [{}, {"name": "Rome", "weather": []}, {"name": "Rome", "weather": 3}])
async def test_weather_in_an_unknown_form_fails(answer) -> None:
    async with acting(answers(httpx.Response(200, json=answer)), WEATHER):
        with pytest.raises(RemoteError, match="unknown form"):
            await openweather.current_weather(city="Rome", credential="owm")


async def test_an_answer_that_is_no_object_fails() -> None:
    async with acting(answers(httpx.Response(200, json=[])), WEATHER):
        with pytest.raises(RemoteError, match="something else than a JSON object"):
            await openweather.current_weather(city="Rome", credential="owm")


async def test_jmespath_picks_and_reshapes() -> None:
    data = {"items": [{"sku": "A1", "n": 2}, {"sku": "B2", "n": 0}]}
    async with acting():
        assert await transform.jmespath(expression="items[?n > `0`].{id: sku}", data=data) == [{"id": "A1"}]
        assert await transform.jmespath(expression="nothing", data=data) is None


async def test_a_wrong_jmespath_expression_is_shown_in_one_line() -> None:
    async with acting():
        with pytest.raises(ActionError, match=r"transform\.jmespath: ") as error:
            await transform.jmespath(expression="items[", data={})
    assert "\n" not in str(error.value)


async def test_a_template_is_rendered_by_the_workflow_language() -> None:
    async with acting(render=lambda template, data: (template, data)):
        assert await transform.template(template="{{ a }}", data={"a": 1}) == ("{{ a }}", {"a": 1})


async def test_a_failing_template_keeps_its_error() -> None:
    def refuse(template, data):
        raise ExpressionError("a is undefined")

    async with acting(render=refuse):
        with pytest.raises(ExpressionError, match="a is undefined"):
            await transform.template(template="{{ a }}", data={})
