"""The page and its plots."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from reports import a_round, report, result

from benchmarks import page, tables


def test_what_stands_between_markers_is_made_anew_and_the_rest_is_kept() -> None:
    text = "By hand.\n<!-- measured: numbers -->\nold\n<!-- end -->\nMore.\n"
    made = page.filled(text, report(), {"numbers": lambda _: "new"})
    assert made == "By hand.\n<!-- measured: numbers -->\n\nnew\n\n<!-- end -->\nMore.\n"
    assert page.filled(made, report(), {"numbers": lambda _: "new"}) == made


def test_a_marker_that_no_section_belongs_to_is_an_error() -> None:
    with pytest.raises(KeyError, match="nothing"):
        page.filled("<!-- measured: nothing -->\n<!-- end -->", report())


def test_the_page_has_every_section() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert {name for name in tables.SECTIONS if f"<!-- measured: {name} -->" in text} == set(tables.SECTIONS)


def test_every_plot_is_xml_and_names_everyone() -> None:
    made = page.drawings(report(result("express", a_round(rate=700)), result("dbos", a_round(rate=0.5))))
    assert set(made) == {"rate", "idle", "cpu", "memory", "lag", "memory-over-time"}
    for svg in made.values():
        ElementTree.fromstring(svg)
        assert "Express, SQLite" in svg
        assert "Dbos, SQLite" in svg


def test_without_results_there_is_nothing_to_draw() -> None:
    assert page.drawings(report(result("n8n", unavailable="no npm"))) == {}
