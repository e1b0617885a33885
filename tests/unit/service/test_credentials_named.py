"""Which credentials workflows name, who uses them, and what another platform lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from flows.history import WorkflowVersion
from flows.language.yaml_source import load_workflow
from flows.on_prefect.flow import version_of
from flows.on_prefect.python_source import load_python_file
from foundation.errors import ConfigurationError
from foundation.settings import Settings
from ipaas.credentials import missing, used_by
from ipaas.promotion import missing_there

ORDERS = """
name: orders
triggers:
  - webhook: {auth: {scheme: shopify, credential: shop}}
steps:
  - id: tell
    uses: slack.post_message
    credential: team
    with: {channel: "#a", text: hi}
  - id: each
    for_each: event.body.items
    steps:
      - id: reserve
        uses: http.request
        credential: stock
        with: {url: "https://stock.example"}
"""

IN_PYTHON = """
from connectors import http, slack
from connectors.slack import post_message as tell
from flows import Event, webhook, workflow

@workflow(triggers=[webhook(auth={"scheme": "github", "credential": "hub"})])
async def orders(event: Event) -> None:
    await slack.post_message(channel="#a", text="x", credential="team")
    await http.request.with_retry(attempts=3)(url="https://x.example", credential="stock")
"""

STOCK_TYPES = "bearer or basic or oauth2 or google-service-account or github-app or api-key"
ALL = [("shop", "webhook-secret"), ("team", "slack"), ("stock", "oauth2")]


def create(name: str, type_name: str) -> str:
    return f"create it with `ipaas credentials set {name} --type {type_name}`"


def published(text: str = ORDERS, file: str = "orders.yaml") -> WorkflowVersion:
    return version_of(load_workflow(text, file=file), text, language="yaml", file=file)


def said(there: list[tuple[str, str]], version: WorkflowVersion | None = None) -> list[str]:
    return [str(fault) for fault in missing([version or published()], there)]


def test_every_place_of_a_workflow_that_names_a_credential_is_known() -> None:
    users = used_by([published()])

    assert {name: [(user.workflow, user.use.types, user.use.line) for user in of] for name, of in users.items()} == {
        "shop": [("orders", ("webhook-secret",), None)],
        "team": [("orders", ("slack",), 8)],
        "stock": [("orders", tuple(STOCK_TYPES.split(" or ")), 15)],
    }


def test_a_python_workflow_names_them_in_its_code(tmp_path: Path) -> None:
    file = tmp_path / "orders.py"
    file.write_text(IN_PYTHON)
    [flow] = load_python_file(file)
    users = used_by([flow.published])

    assert {name: user.use.types[:1] for name, [user] in users.items()} == {
        "hub": ("webhook-secret",),
        "team": ("slack",),
        "stock": ("bearer",),
    }


def test_nothing_is_missing_when_all_are_there() -> None:
    assert said(ALL) == []


def test_what_is_missing_or_of_another_type_is_named_with_its_place() -> None:
    assert said([("shop", "bearer"), ("stock", "basic")]) == [
        "orders.yaml: credential 'shop' is of type bearer, and one of type webhook-secret is needed",
        f"orders.yaml:8: credential 'team' of type slack does not exist: {create('team', 'slack')}",
    ]


def test_a_workflow_that_can_not_be_read_any_more_names_none() -> None:
    broken = WorkflowVersion("old", "v1", "yaml", "name: [", "old.yaml", declaration={"name": "old"})

    assert used_by([broken]) == {}


def a_view(name: str, slug: str, **more: Any) -> dict[str, Any]:
    shown = {"created": None, "updated": None, "key_ids": [], "unsealed": [], "secret": [], "used_by": []}
    return shown | {"name": name, "type": slug, "fields": {}} | more


def target(*items: dict[str, Any], status: int = 200) -> respx.Route:
    return respx.get("https://live.example/api/credentials", headers={"Authorization": "Bearer reads"}).mock(
        return_value=httpx.Response(status, json={"items": list(items)})
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path, against_token="reads")  # type: ignore[call-arg,arg-type]


@respx.mock
async def test_the_other_platforms_gateway_is_asked(settings: Settings) -> None:
    target(a_view("team", "slack"), a_view("stock", "oauth2", fields={"grant": "authorization_code"}))

    found = await missing_there([published()], "https://live.example/", settings)

    assert [str(fault) for fault in found] == [
        f"orders.yaml: credential 'shop' of type webhook-secret does not exist: {create('shop', 'webhook-secret')}",
        "orders.yaml:15: credential 'stock' is there, and nobody has connected it",
    ]


@respx.mock
async def test_what_needs_no_person_needs_no_connecting(settings: Settings) -> None:
    others = [a_view("shop", "webhook-secret"), a_view("team", "slack")]
    target(*others, a_view("stock", "oauth2", fields={"grant": "client_credentials"}))

    assert await missing_there([published()], "https://live.example", settings) == []


@respx.mock
async def test_a_home_is_asked_by_the_gateway_that_runs_there(settings: Settings, tmp_path: Path) -> None:
    home = tmp_path / "live"
    home.mkdir()
    (home / "addresses.json").write_text(
        '{"gateway": "https://live.example", "prefect_api": "http://a/api", "prefect_ui": "http://a"}'
    )
    (home / "api-token").write_text("reads\n")
    asked = target(*(a_view(name, slug) for name, slug in ALL if name != "stock"), a_view("stock", "bearer"))

    assert await missing_there([published()], str(home), settings.model_copy(update={"against_token": None})) == []
    assert asked.called


@respx.mock
@pytest.mark.parametrize(
    ("status", "fault"), [(401, "wants another token"), (404, "does not tell its credentials"), (503, "status 503")]
)
async def test_a_platform_that_does_not_tell_is_an_error(settings: Settings, status: int, fault: str) -> None:
    target(status=status)

    with pytest.raises(ConfigurationError, match=fault):
        await missing_there([published()], "https://live.example", settings)


async def test_a_home_where_nothing_runs_is_an_error(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no platform runs in"):
        await missing_there([published()], str(tmp_path / "none"), settings)
