"""Which credentials a workflow names, and of which types they may be: what a deploy, a promotion and `used_by` ask.

Of a workflow in Python, those that stand literally in its code are known.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.kit.description import Description
from connectors.webhooks import build_scheme, credential_types
from flows.language.definition import Declaration, Webhook
from flows.language.python_graph import imported_names
from flows.language.yaml_text import Node, read_yaml


@dataclass(frozen=True)
class CredentialUse:
    """One place that names a credential.

    Attributes:
        types: it must be of one of these; empty: nobody knows.
        line: counted from 1, in the workflow's file; None: it has no place.
    """

    name: str
    types: tuple[str, ...]
    line: int | None = None


def credentials_of(
    source: str, language: str, declaration: Declaration, actions: Mapping[str, Description]
) -> list[CredentialUse]:
    """The credentials that a workflow names, in the order of its text, webhooks first; each once for its types.

    Args:
        source: its file's text.
        language: yaml or python.
        actions: by name, what each takes.

    Raises:
        DefinitionError: the text can't be read.
    """
    found = [*_of_webhooks(declaration)]
    found += _in_yaml(read_yaml(source), actions) if language == "yaml" else _in_python(source, actions)
    return list({(use.name, use.types): use for use in reversed(found)}.values())[::-1]


def _of_webhooks(declaration: Declaration) -> Iterator[CredentialUse]:
    for trigger in declaration.triggers:
        if isinstance(trigger, Webhook) and trigger.auth:
            types = credential_types(build_scheme(trigger.auth.scheme, trigger.auth.options))
            yield CredentialUse(trigger.auth.credential, tuple(types))


def _in_yaml(node: Node, actions: Mapping[str, Description]) -> Iterator[CredentialUse]:
    if isinstance(node.value, list):
        for item in node.value:
            yield from _in_yaml(item, actions)
    elif isinstance(node.value, dict):
        uses, name = node.value.get("uses"), node.value.get("credential")
        if uses and name and isinstance(name.value, str):
            yield CredentialUse(name.value, _types(uses.value, actions), name.position.line)
        for inner in node.value.values():
            yield from _in_yaml(inner, actions)


def _in_python(source: str, actions: Mapping[str, Description]) -> Iterator[CredentialUse]:
    module = ast.parse(source)
    names = imported_names(module)
    for node in ast.walk(module):
        if not isinstance(node, ast.Call):
            continue
        given = {one.arg: one.value.value for one in node.keywords if isinstance(one.value, ast.Constant)}
        if isinstance(name := given.get("credential"), str):
            called = given.get("uses") or _called(node.func, names)  # `poll(uses=…)`, or the action itself
            yield CredentialUse(name, _types(called, actions), node.lineno)


def _called(function: ast.expr, names: Mapping[str, str]) -> str:
    """`slack.post_message`, however it was imported; also behind `.with_retry(…)` and the like."""
    written = ast.unparse(function)
    first, _, rest = written.partition(".")
    whole = f"{names.get(first, first)}.{rest}".removeprefix("connectors.")
    return ".".join(whole.split(".")[:2])


def _types(action: Any, actions: Mapping[str, Description]) -> tuple[str, ...]:
    return tuple(actions[action].credential_types) if isinstance(action, str) and action in actions else ()
