"""What can be told of a Python workflow by reading it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from flows.expressions import literal_hosts


def hosts_in_code(source: str, namespace: Mapping[str, Any]) -> frozenset[str]:
    """Every `host:port` that the author wrote as an http or https address.

    Args:
        source: the workflow's file.
        namespace: its module's, where what it imports and reads from the environment stands.
    """
    return _literals(source) | literal_hosts([value for value in namespace.values() if isinstance(value, str)])


@lru_cache(maxsize=500)
def _literals(source: str) -> frozenset[str]:
    return literal_hosts(list(_strings(ast.parse(source))))


def _strings(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{{ x }}" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)
