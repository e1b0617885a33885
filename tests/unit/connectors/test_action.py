"""How an action is written, and what calling it does."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prefect import Task

from connectors import http, log, slack, transform
from connectors.kit.action import Action, Unrendered, action
from connectors.kit.call import current_call, current_runner
from connectors.kit.testing import acting, answers
from connectors.slack import SlackCredential
from foundation.errors import ActionError


@action("acme.greet", credential=SlackCredential, tags=["acme"])
async def greet(
    *, name: str, times: int = 1, template: Unrendered = "", credential: str | None = None
) -> dict[str, Any]:
    """Greets: https://acme.example/docs/greet."""
    call = current_call.get()
    return {"text": f"Hello {name}! " * times, "step": call.path, "key": call.idempotency_key}


def test_it_knows_what_a_workflow_needs_to_know() -> None:
    assert (greet.action_name, greet.connector, greet.name) == ("acme.greet", "acme", "acme.greet")
    assert list(greet.signature.parameters) == ["name", "times", "template", "credential"]
    assert greet.signature.parameters["times"].annotation is int
    assert greet.credential == (SlackCredential,)
    assert not greet.credential_required
    assert slack.post_message.credential_required
    assert greet.documentation == "https://acme.example/docs/greet"
    assert greet.unrendered == {"template"}
    assert transform.template.unrendered == {"template"}
    assert greet.tags == {"acme"}


def test_with_other_options_it_stays_an_action() -> None:
    changed = greet.with_options(task_run_name="notify", tags=["x"])
    assert isinstance(changed, Action)
    assert (changed.task_run_name, changed.tags, changed.action_name) == ("notify", {"x"}, "acme.greet")
    assert (changed.retries, changed.persist_result, changed.task_key) == (0, False, "acme.greet")
    assert changed.signature == greet.signature
    assert (greet.task_run_name, greet.tags) == (None, {"acme"})
    assert isinstance(changed, Task)


async def test_calling_it_runs_it_as_a_step_of_the_current_runner() -> None:
    async with acting(execution_id="e1"):
        result = await greet(name="Ada")
    assert result == {"text": "Hello Ada! ", "step": "acme.greet", "key": "e1:acme.greet"}


async def test_the_runner_is_told_what_was_called() -> None:
    told: list[Any] = []

    class Note:
        async def run(self, action, arguments, body):
            told.append((action.action_name, arguments))
            return "noted"

    token = current_runner.set(Note())
    try:
        assert await greet.fn(name="Ada", times=2) == "noted"
    finally:
        current_runner.reset(token)
    assert told == [("acme.greet", {"name": "Ada", "times": 2})]


async def test_in_a_plain_script_it_runs_without_any_server(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("IPAAS_HOME", str(tmp_path))
    assert await log.message.fn(text="hi") == {"text": "hi"}
    first, second = await greet.fn(name="Ada"), await greet.fn(name="Ada")
    assert first["key"] != second["key"]


async def test_an_action_that_calls_another_is_one_step() -> None:
    @action("acme.relay")
    async def relay(*, url: str) -> Any:
        """Relays: https://acme.example/docs."""
        greeting = await greet(name="Ada")
        await http.request(method="POST", url=url, json=greeting)
        return greeting["step"]

    async with acting(answers(httpx.Response(200))) as stage:
        assert await relay(url="http://127.0.0.1:9/") == "acme.relay"
    assert stage.requests[0].headers["idempotency-key"] == "execution:acme.relay"


@pytest.mark.parametrize(("given", "text"), [(7, "Hello 7! "), (2.5, "Hello 2.5! "), ("Ada", "Hello Ada! ")])
async def test_rendered_numbers_become_text_where_text_is_wanted(given, text) -> None:
    async with acting():
        assert (await greet(name=given))["text"] == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ["Ada"]}, r"acme.greet: `name`: Input should be a valid string"),
        ({"name": "Ada", "times": "often"}, r"acme.greet: `times`: Input should be a valid integer"),
    ],
)
async def test_a_wrong_argument_is_named_without_its_value(arguments, message) -> None:
    async with acting():
        with pytest.raises(ActionError, match=message) as error:
            await greet(**arguments)
    assert "often" not in str(error.value)


async def _undocumented(*, name: str) -> str:
    """Nothing more."""
    return name


async def _untyped(*, name) -> str:
    """See https://acme.example."""
    return name


async def _positional(name: str) -> str:
    """See https://acme.example."""
    return name


async def _no_result(*, name: str):
    """See https://acme.example."""


async def _fine(*, name: str) -> str:
    """See https://acme.example."""
    return name


def _sync(*, name: str) -> str:
    """See https://acme.example."""
    return name


@pytest.mark.parametrize(
    ("function", "name", "credential", "message"),
    [
        (_undocumented, "acme.do", (), "address of the vendor's page"),
        (_untyped, "acme.do", (), "'name' must be keyword-only and typed"),
        (_positional, "acme.do", (), "'name' must be keyword-only and typed"),
        (_no_result, "acme.do", (), "result must be typed"),
        (_sync, "acme.do", (), "async function"),
        (_fine, "acme", (), "connector.verb_object"),
        (_fine, "acme.do", SlackCredential, "go together"),
    ],
)
def test_a_badly_written_action_is_refused_when_it_is_defined(function, name, credential, message) -> None:
    with pytest.raises(TypeError, match=message):
        action(name, credential=credential)(function)
