"""What is written in a step's box, and how wide it is."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from flows.drawing.states import State
from flows.language.graph import Node
from foundation.printable import printable

SYMBOLS: Final = {
    "running": "●",
    "waiting": "‖",
    "succeeded": "✓",
    "failed": "✗",
    "timed_out": "✗",
    "cancelled": "○",
    "skipped": "–",
}


def described(node: Node, states: Mapping[str, State] | None) -> list[str]:
    """Its id; what it does; its condition; how far it has come."""
    does = node.label if node.kind == "uses" else f"{node.kind.replace('_', ' ')} {node.label}".rstrip()
    lines = [node.id, does] if node.is_step and node.id != node.label else [does]
    if node.condition is not None:
        lines.append(f"if {node.condition}")
    if states is not None and node.id in states:
        state = states[node.id]
        lines.append(f"{SYMBOLS.get(state.status, '?')} {state.said()}")
    return lines


def width_of(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(_width(character) for character in text)


def shortened(text: str, columns: int) -> str:
    """The text on one line of so many columns at most, its end replaced by `…` when it is longer."""
    text = printable(text)
    if width_of(text) <= columns:
        return text
    kept, left = "", columns - 1
    for character in text:
        left -= _width(character)
        if left < 0:
            break
        kept += character
    return f"{kept}…"


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1
