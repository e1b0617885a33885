"""A picture as SVG: one file that needs nothing else, readable on light and dark pages.

Labels are data: what stands in them can end neither its text nor the picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from flows.drawing.layout import Box, Layout, Point, lay_out
from flows.drawing.states import State
from flows.drawing.words import described, shortened, width_of
from flows.language.graph import Graph, Node

_LETTER: Final = 7.3
"""The width of a letter of 12 px in any of the fonts below, at least."""
_LINE: Final = 17.0
_LONGEST: Final = 44
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_STYLE: Final = """
svg{background:#fff;color:#1f2328}
text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:currentColor}
.id{font-weight:600}.dim{fill:#59636e}
rect{fill:#f6f8fa;stroke:#8c959f;stroke-width:1.2}
.around>rect{fill:none}.group>rect{fill:none;stroke-dasharray:4 3}.start>rect{fill:#ddf4ff;stroke:#0969da}
path{fill:none;stroke:#8c959f;stroke-width:1.4}marker path{fill:#8c959f;stroke:none}
.succeeded>rect{stroke:#1a7f37;stroke-width:2}.succeeded>.state{fill:#1a7f37}
.failed>rect,.timed_out>rect{stroke:#cf222e;stroke-width:2}.failed>.state,.timed_out>.state{fill:#cf222e}
.running>rect,.waiting>rect{stroke:#9a6700;stroke-width:2}.running>.state,.waiting>.state{fill:#9a6700}
.skipped>rect,.unreached>rect,.cancelled>rect{stroke-dasharray:2 3}
.skipped>text,.unreached>text,.cancelled>text{fill:#818b98}
@media(prefers-color-scheme:dark){
svg{background:#0d1117;color:#e6edf3}.dim{fill:#9198a1}rect{fill:#161b22;stroke:#6e7681}
.start>rect{fill:#0c2d6b;stroke:#4493f8}path{stroke:#6e7681}marker path{fill:#6e7681}
.succeeded>rect{stroke:#3fb950}.succeeded>.state{fill:#3fb950}
.failed>rect,.timed_out>rect{stroke:#f85149}.failed>.state,.timed_out>.state{fill:#f85149}
.running>rect,.waiting>rect{stroke:#d29922}.running>.state,.waiting>.state{fill:#d29922}}
"""


@dataclass(frozen=True)
class _Pixels:
    states: Mapping[str, State] | None
    padding: Point = (14.0, 14.0)
    gap: Point = (26.0, 34.0)
    stacked: bool = False

    def size(self, lines: Sequence[str]) -> Point:
        return max(map(width_of, lines), default=0) * _LETTER + 24, len(lines) * _LINE + 14

    def lines(self, node: Node) -> Sequence[str]:
        return [self.line(text) for text in described(node, self.states)]

    def line(self, text: str) -> str:
        return shortened(text, _LONGEST)


def as_svg(graph: Graph, states: Mapping[str, State] | None = None, title: str = "") -> str:
    """The picture; with the states of an execution, how far each step has come."""
    layout = layout_of(graph, states).moved(12, 12)
    width, height = round(layout.width + 24), round(layout.height + 24)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>',
        *(_box(box, states) for box in layout.boxes),
        *_lines(layout),
        "</svg>",
    ]
    return "\n".join(parts)


def layout_of(graph: Graph, states: Mapping[str, State] | None = None) -> Layout:
    """Where everything stands, in pixels."""
    return lay_out(graph, _Pixels(states))


def _box(box: Box, states: Mapping[str, State] | None) -> str:
    words = [_class_of(box, states)] if box.node else ["group"]
    if box.node and box.node.groups:
        words.append("around")
    x, y, width, height = (round(value, 1) for value in (box.x, box.y, box.width, box.height))
    last = len(box.lines) - 1
    has_state = box.node is not None and states is not None and box.node.id in states
    texts = []
    for number, line in enumerate(box.lines):
        kind = "id" if number == 0 and box.node else "state" if has_state and number == last else "dim"
        texts.append(
            f'<text class="{kind}" x="{round(box.x + 12, 1)}" y="{round(box.y + 18 + number * _LINE, 1)}">'
            f"{_text(line)}</text>"
        )
    return (
        f'<g class="{" ".join(words)}"><rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>'
        f"{''.join(texts)}</g>"
    )


def _class_of(box: Box, states: Mapping[str, State] | None) -> str:
    assert box.node  # noqa: S101 - asked for steps only
    if box.node.is_step:
        if states is None:
            return "step"
        state = states.get(box.node.id)
        return state.status if state and re.fullmatch("[a-z_]+", state.status) else "unreached"
    return "start" if not box.node.groups else "step"


def _lines(layout: Layout) -> list[str]:
    return [
        f'<path d="M{"L".join(f"{round(x, 1)} {round(y, 1)}" for x, y in line)}" marker-end="url(#arrow)"/>'
        for line in layout.lines
    ]


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))
