"""How the vendors' side looks, for each action that ships and speaks HTTP; `test_conformance.py` runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx

from connectors import discord, http, openapi, openweather, rss, slack
from connectors.kit.conformance import HttpCase


def _http_request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == ("POST", "http://127.0.0.1:9/reserve?shop=1")
    assert request.headers["authorization"] == "Bearer token-1234"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"sku": "A1"}


def _slack_request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == ("POST", "https://slack.com/api/chat.postMessage")
    assert request.headers["authorization"] == "Bearer xoxb-1234-abcd"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"channel": "#orders", "text": "Hello", "thread_ts": "1.2"}


def _discord_request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == ("POST", "https://discord.com/api/webhooks/42/tok-EN_1234?wait=true")
    assert json.loads(request.content) == {"content": "Hello", "embeds": [{"title": "Order"}]}


def _openweather_request(request: httpx.Request) -> None:
    assert (request.method, request.url.host, request.url.path) == (
        "GET",
        "api.openweathermap.org",
        "/data/2.5/weather",
    )
    assert dict(request.url.params) == {"q": "London,GB", "units": "metric", "appid": "0123456789abcdef"}


def _openapi_request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == (
        "POST",
        "https://api.parcels.example/v2/orders/A%2F1/labels?express=true",
    )
    assert request.headers["authorization"] == "Bearer token-1234"
    assert json.loads(request.content) == {"weight": 2.5}


def _rss_request(request: httpx.Request) -> None:
    assert (request.method, str(request.url)) == ("GET", "http://127.0.0.1:9/feed.xml")
    assert request.headers["authorization"] == "Bearer token-1234"
    assert "application/atom+xml" in request.headers["accept"]


def _feed(text: str) -> str:
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>News</title><link>https://news.example/</link>
<item><guid isPermaLink="false">7</guid><title>{text}</title><link>/a</link><category>x</category>
<pubDate>Thu, 01 Jan 2026 10:00:00 +0100</pubDate></item></channel></rss>"""


def _weather(text: str) -> dict[str, Any]:
    return {
        "weather": [{"id": 300, "main": "Drizzle", "description": text, "icon": "09d"}],
        "main": {"temp": 7.1, "feels_like": 5.2, "humidity": 81, "pressure": 1012},
        "wind": {"speed": 4.1, "deg": 80},
        "sys": {"country": "GB"},
        "name": "London",
        "cod": 200,
    }


HTTP_CASES = [
    HttpCase(
        action=http.request,
        arguments={
            "method": "POST",
            "url": "http://127.0.0.1:9/reserve",
            "query": {"shop": 1},
            "json": {"sku": "A1"},
        },
        credential={"token": "token-1234"},
        secret="token-1234",
        request=_http_request,
        success=lambda text: httpx.Response(201, json={"note": text}),
        result=lambda text: {"status": 201, "body": {"note": text}},
        unauthorized=httpx.Response(401, json={"error": "bad token"}),
        missing=httpx.Response(404, json={"detail": "no such item"}),
        said=("bad token", "no such item"),
        aside=frozenset({"headers"}),  # test_http.py has them
        idempotency_header="Idempotency-Key",
    ),
    HttpCase(
        action=slack.post_message,
        arguments={"channel": "#orders", "text": "Hello", "thread_ts": "1.2"},
        credential={"token": "xoxb-1234-abcd"},
        secret="xoxb-1234-abcd",
        request=_slack_request,
        success=lambda text: httpx.Response(
            200, json={"ok": True, "ts": "1503435956.000247", "channel": "C1", "message": {"text": text}}
        ),
        result=lambda text: {"ts": "1503435956.000247", "channel": "C1", "message": {"text": text}},
        unauthorized=httpx.Response(200, json={"ok": False, "error": "invalid_auth"}),
        missing=httpx.Response(200, json={"ok": False, "error": "channel_not_found"}),
        said=("invalid_auth", "channel_not_found"),
    ),
    HttpCase(
        action=discord.post_message,
        arguments={"content": "Hello", "embeds": [{"title": "Order"}]},
        credential={"webhook_url": "https://discord.com/api/webhooks/42/tok-EN_1234"},
        secret="tok-EN_1234",
        request=_discord_request,
        success=lambda text: httpx.Response(200, json={"id": "1", "channel_id": "2", "content": text, "type": 0}),
        result=lambda text: {"id": "1", "channel_id": "2", "content": text, "timestamp": None},
        unauthorized=httpx.Response(401, json={"message": "Invalid Webhook Token", "code": 50027}),
        missing=httpx.Response(404, json={"message": "Unknown Webhook", "code": 10015}),
        said=("Invalid Webhook Token", "Unknown Webhook"),
    ),
    HttpCase(
        action=openweather.current_weather,
        arguments={"city": "London,GB"},
        credential={"api_key": "0123456789abcdef"},
        secret="0123456789abcdef",
        request=_openweather_request,
        success=lambda text: httpx.Response(200, json=_weather(text)),
        result=lambda text: {
            "city": "London",
            "country": "GB",
            "description": text,
            "temperature": 7.1,
            "feels_like": 5.2,
            "humidity": 81,
            "wind_speed": 4.1,
            "units": "metric",
        },
        unauthorized=httpx.Response(401, json={"cod": 401, "message": "Invalid API key."}),
        missing=httpx.Response(404, json={"cod": "404", "message": "city not found"}),
        said=("Invalid API key.", "city not found"),
        repeats_safely=True,
    ),
    HttpCase(
        action=openapi.call,
        arguments={
            "spec": str(Path(__file__).parents[2] / "openapi" / "parcels.yaml"),
            "operation": "createLabel",
            "parameters": {"order": "A/1", "express": True},
            "body": {"weight": 2.5},
        },
        credential={"token": "token-1234"},
        secret="token-1234",
        request=_openapi_request,
        success=lambda text: httpx.Response(201, json={"id": "7", "note": text}),
        result=lambda text: {"status": 201, "body": {"id": "7", "note": text}},
        aside=frozenset({"headers"}),
        unauthorized=httpx.Response(401, json={"title": "unknown token"}),
        missing=httpx.Response(404, json={"title": "no such order"}),
        said=("unknown token", "no such order"),
        idempotency_header="Idempotency-Key",
    ),
    HttpCase(
        action=rss.items,
        arguments={"url": "http://127.0.0.1:9/feed.xml"},
        credential={"token": "token-1234"},
        secret="token-1234",
        request=_rss_request,
        success=lambda text: httpx.Response(200, text=_feed(text), headers={"content-type": "application/rss+xml"}),
        result=lambda text: [
            {
                "id": "7",
                "title": text,
                "link": "http://127.0.0.1:9/a",
                "published": "2026-01-01T09:00:00Z",
                "updated": None,
                "author": None,
                "summary": None,
                "content": None,
                "tags": ["x"],
                "feed": {"title": "News", "link": "https://news.example/"},
            }
        ],
        unauthorized=httpx.Response(401, json={"error": "bad token"}),
        missing=httpx.Response(404, json={"detail": "no such feed"}),
        said=("bad token", "no such feed"),
        malformed=httpx.Response(200, text="<html><body>Moved</body></html>"),
        malformed_said="something else than a feed",
        repeats_safely=True,
    ),
]
WITHOUT_HTTP = {"imap.messages", "log.message", "transform.jmespath", "transform.template"}
"""Actions that send no HTTP request. What `imap` sends is in test_imap.py."""
