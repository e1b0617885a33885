"""Secrets that stand in a workflow: which are known, and what is none."""

from __future__ import annotations

import pytest

from connectors.kit.descriptions import DESCRIPTIONS
from flows.language.check import check_workflow
from flows.language.in_clear import check_code, kind_in
from flows.language.yaml_source import load_workflow

# In two halves, so that no scanner takes the examples for real ones.
KNOWN = {
    "a Slack token": ("xoxb-", "123456789012-abcdef"),
    "a Slack webhook's address": ("https://hooks.slack.com/services/", "T00000000/B00000000/abcdefgh"),
    "a Discord webhook's address": ("https://discord.com/api/webhooks/", "123456/abcdefghijklmnopqrstuv"),
    "a GitHub token": ("github_pat_", "11ABCDEFG0abcdefghijklmnopqrstuvw"),
    "a GitLab token": ("glpat-", "abcdefghijklmnopqrst"),
    "an AWS access key": ("AKIA", "IOSFODNN7EXAMPLE"),
    "a Google API key": ("AIza", "SyA1234567890abcdefghijklmnopqrstuv"),
    "a Stripe key": ("whsec_", "abcdefghijklmnopqrstuvwx"),
    "an OpenAI key": ("sk-proj-", "abcdefghijklmnopqrstuvwxyz0123456789"),
    "an Anthropic key": ("sk-ant-", "api03-abcdefghijklmnopqrst"),
    "a SendGrid key": ("SG.", "abcdefghijklmnop.qrstuvwxyzabcdef"),
    "a Shopify token": ("shpat_", "0123456789abcdef0123456789abcdef"),
    "a Telegram bot's token": ("123456789:", "AAabcdefghijklmnopqrstuvwxyz0123456"),
    "a private key": ("-----BEGIN RSA ", "PRIVATE KEY-----\nMIIE"),
    "a JSON Web Token": ("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxMjM0NTYifQ.abcdefghijkl"),
    "a password in an address": ("postgresql://me:", "hunter2@db.example/shop"),
}


@pytest.mark.parametrize(("kind", "parts"), KNOWN.items(), ids=KNOWN)
def test_a_secret_is_known_by_its_form(kind: str, parts: tuple[str, str]) -> None:
    assert kind_in("see " + "".join(parts)) == kind
    assert kind_in(parts[0]) is None


@pytest.mark.parametrize(
    "text",
    [
        "https://example.org:8080/a@b",
        "https://{{ vars.user }}:{{ vars.word }}@example.org/",
        "sk-ein-sehr-langer-name-mit-vielen-bindestrichen",
        "0123456789abcdef0123456789abcdef",
        "Basic",
    ],
)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert kind_in(text) is None


def found(arguments: str) -> list[str]:
    text = "name: w\nsteps: [{id: a, uses: http.request, with: {url: 'https://example.org', " + arguments + "}}]"
    return [fault.message for fault in check_workflow(load_workflow(text), DESCRIPTIONS)]


@pytest.mark.parametrize(
    "arguments",
    [
        'headers: {Authorization: "{{ event.headers.token }}"}',
        'headers: {Authorization: "Bearer {{ event.body.token }}"}',
        "headers: {Cookie: consent, X-Key-Id: k}",
        'json: {password: "{{ event.body.password }}", secret: short}',
        "json: {forgot_password: 'https://example.org/forgot', password: 'set it yourself'}",
    ],
)
def test_what_comes_from_elsewhere_or_says_nothing_is_none(arguments: str) -> None:
    assert found(arguments) == []


def test_a_secret_is_never_quoted() -> None:
    [fault] = found("headers: {authorization: Bearer 0123456789}")
    assert fault.startswith(
        "steps[0].with.headers.authorization: this looks like the secret of the header authorization"
    )
    assert "0123" not in fault


def test_python_code_is_looked_through() -> None:
    token = "".join(KNOWN["a Slack token"])
    code = f"import os\n\nTOKEN = os.environ['TOKEN']\nOTHER = f'{{TOKEN}} {token}'\n"
    [fault] = check_code(code, "flows.py")
    assert str(fault).startswith("flows.py:4:")
    assert "a Slack token in the clear" in fault.message
