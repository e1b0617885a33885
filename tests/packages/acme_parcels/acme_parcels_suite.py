"""The package's own tests: it inherits the kit's suites, and is found once it is installed."""

from __future__ import annotations

import httpx
from acme_parcels import ParcelsCredential, create_label

from blocks import BLOCK_TYPES
from connectors.kit.conformance import ActionSuite, HttpCase, HttpSuite
from connectors.kit.registry import get, load_connectors
from connectors.webhooks import build_scheme


def _request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == ("POST", "https://parcels.example/orders/A%2F1/labels")
    assert request.headers["authorization"] == "Bearer token-1234"


class TestActions(ActionSuite):
    actions = [create_label]  # noqa: RUF012 (as a package's author writes it)


class TestRequests(HttpSuite):
    cases = [  # noqa: RUF012
        HttpCase(
            action=create_label,
            arguments={"order": "A/1"},
            credential={"token": "token-1234"},
            secret="token-1234",
            request=_request,
            success=lambda text: httpx.Response(201, json={"id": "L1", "note": text}),
            result=lambda text: {"id": "L1", "note": text},
            unauthorized=httpx.Response(401, json={"message": "unknown token"}),
            missing=httpx.Response(404, json={"message": "no such order"}),
            said=("unknown token", "no such order"),
            idempotency_header="Idempotency-Key",
        )
    ]


def test_it_is_found_with_all_it_brings() -> None:
    load_connectors()
    assert get("parcels.create_label") is create_label
    assert BLOCK_TYPES["parcels"] is ParcelsCredential
    assert build_scheme("parcels").signature == "header:X-Parcels-Signature"
