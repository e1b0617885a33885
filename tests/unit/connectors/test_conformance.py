"""Every connector that ships keeps the promises of `connectors.kit.conformance`. A new one adds its case."""

from __future__ import annotations

import pytest
from conformance_cases import HTTP_CASES, WITHOUT_HTTP

from connectors.kit.conformance import ActionSuite, HttpSuite
from connectors.kit.registry import BUILT_IN, registry

SHIPPED = [action for action in registry().values() if action.connector in BUILT_IN]


class TestActions(ActionSuite):
    actions = SHIPPED


class TestRequests(HttpSuite):
    cases = HTTP_CASES


def test_every_action_has_its_case() -> None:
    assert {case.action.action_name for case in HTTP_CASES} | WITHOUT_HTTP == {action.action_name for action in SHIPPED}


@pytest.mark.parametrize("action", SHIPPED, ids=lambda action: action.action_name)
def test_its_module_is_named_as_its_connector(action) -> None:
    assert action.fn.__module__ == f"connectors.{action.connector}"
