"""What the page's tables say."""

from __future__ import annotations

from pathlib import Path

import pytest
from reports import a_round, report, result

from benchmarks import tables
from benchmarks.contestants import Work
from benchmarks.contestants.ours import workflow
from benchmarks.results import Report
from ipaas.checking import check


def test_a_ratio_is_the_median_of_the_rounds_with_its_spread() -> None:
    ours = result("express", a_round(rate=400), a_round(rate=600), a_round(rate=500))
    peer = result("dbos", a_round(rate=100), a_round(rate=100), a_round(rate=50))
    assert "| runs/s, express ÷ DBOS | 6.0× (4.0–10) |" in tables.ratios(report(ours, peer))


def test_a_ratio_without_a_peer_says_who_is_missing() -> None:
    said = tables.ratios(report(result("express", a_round()), result("n8n", unavailable="there is no npm")))
    assert "| runs/s, express ÷ n8n | – (n8n was not measured) |" in said


def test_a_peer_that_could_not_take_part_is_in_the_table_with_the_reason() -> None:
    said = report(result("express", a_round()), result("n8n", unavailable="there is no npm on this machine"))
    assert "| N8N, SQLite | 1.0 | not measured: there is no npm on this machine |" in tables.speeds(said)
    assert "- N8N, SQLite: there is no npm on this machine" in tables.missing(said)


def test_what_a_peer_cannot_do_is_a_dash() -> None:
    [row] = tables.speeds(report(result("prefect", a_round(answer=None)))).splitlines()[2:]
    assert [cell.strip() for cell in row.split("|")][5] == "–"


def test_what_was_sent_again_and_what_was_lost_is_told() -> None:
    slow = a_round()
    slow.one.refused, slow.one.lost = {"503": 4}, 1
    said = "- Dbos, SQLite, storm of 100: sent again after 4 × 503; 1 accepted, but without effect"
    assert tables.missing(report(result("dbos", slow))) == said


def test_the_model_predicts_for_larger_machines() -> None:
    said = tables.model(report(result("standard-postgres", a_round(), store="PostgreSQL")))
    assert "| Standard-Postgres, PostgreSQL | 8 | one of each | 333 | worker |" in said
    assert "| Standard-Postgres, PostgreSQL | 64 | as many as it takes | 16000 | all cores |" in said


@pytest.mark.parametrize("name", tables.SECTIONS)
def test_every_section_can_be_made_of_a_report_without_results(name: str) -> None:
    assert tables.SECTIONS[name](report())


def test_a_report_is_kept_as_it_is(tmp_path: Path) -> None:
    made = report(result("express", a_round()), result("n8n", unavailable="no npm"))
    made.save(tmp_path / "results.json")
    assert Report.load(tmp_path / "results.json") == made


@pytest.mark.parametrize("work", Work)
def test_the_measured_workflows_check(work: Work, tmp_path: Path) -> None:
    file = tmp_path / "workflow.yaml"
    file.write_text(workflow(work, "standard", "http://127.0.0.1:9000"))
    assert [str(fault) for fault in check([file])] == []
