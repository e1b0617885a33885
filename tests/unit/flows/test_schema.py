"""`ipaas schema`: what editors check files with takes every sound file, and refuses what is not built as a workflow."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from test_check_broken import SOUND, cases

from connectors.kit.description import Description
from connectors.kit.descriptions import DESCRIPTIONS
from flows.language.files import YAML_SUFFIXES, find_workflow_files
from flows.language.kinds import KINDS
from flows.language.schema import DIALECT, language_schema
from flows.language.yaml_text import read_yaml
from ipaas.checking import CATALOG

ROOT = Path(__file__).parents[3]
SHIPPED = list(find_workflow_files([CATALOG], YAML_SUFFIXES))
FENCE = re.compile(r"^ *```yaml workflow\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SCHEMA = language_schema(DESCRIPTIONS)
VALIDATOR = Draft202012Validator(SCHEMA)


def faults(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(read_yaml(text).data())]


def examples() -> list[Any]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    found = [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in pages
        for number, text in enumerate(FENCE.findall(page.read_text(encoding="utf-8")))
    ]
    return found + [
        pytest.param(file.read_text(), id=file.stem) for file in list(find_workflow_files([CATALOG], YAML_SUFFIXES))
    ]


def test_it_is_a_json_schema_of_2020_12() -> None:
    assert SCHEMA["$schema"] == DIALECT
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", examples())
def test_every_workflow_that_ships_or_is_an_example_fits(text: str) -> None:
    assert faults(text) == []


def test_what_the_check_takes_fits() -> None:
    assert faults(SOUND.replace('expect: ["404", ', "expect: [404, ")) == []


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_shipped_workflows_name_it(file: Path) -> None:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / schema).is_file()


NOT_STRUCTURE = {
    "a scheme's option", "an impossible cron", "a cron of six fields", "a timezone",
    "an input that is no JSON Schema", "an answer that nobody waits for", "a status that there is not",
    "an output of another type", "an output for a list", "what a set gives", "vars of another type",
}  # fmt: skip
"""What takes more than the form of a file to know."""


@pytest.mark.parametrize(
    "text", [pytest.param(text, id=name) for name, text, _ in cases() if name.startswith(("keys: ", "actions: "))]
)
def test_what_is_not_built_as_a_workflow_is_refused(text: str, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id.partition(": ")[2]
    assert bool(faults(text)) == (name not in NOT_STRUCTURE)


def test_every_kind_and_action_is_in_it() -> None:
    keys = {key for part in SCHEMA["$defs"].values() for key in part.get("properties", ())}
    assert set(KINDS) <= keys
    assert SCHEMA["$defs"]["Uses"]["properties"]["uses"]["enum"] == sorted(DESCRIPTIONS)


def test_editors_are_told_what_keys_mean() -> None:
    uses = SCHEMA["$defs"]["Uses"]["properties"]
    assert uses["if"]["description"] == "a bare expression; the step is skipped when it is false."
    [slack] = [
        part["then"]["properties"]
        for part in SCHEMA["$defs"]["Action"]["allOf"]
        if part["if"]["properties"]["uses"]["const"] == "slack.post_message"
    ]
    assert slack["with"]["properties"]["channel"]["description"].startswith("a channel's id")
    assert slack["credential"]["description"] == "The name of a credential of type slack."


def test_an_argument_may_bring_definitions_of_its_own() -> None:
    tree = {
        "$ref": "#/$defs/Tree",
        "$defs": {"Tree": {"type": "object", "properties": {"up": {"$ref": "#/$defs/Tree"}}}},
    }
    schema = language_schema({"acme.plant": Description("acme.plant", arguments={"tree": tree})})
    validator = Draft202012Validator(schema)

    def fits(tree: Any) -> bool:
        step = {"id": "a", "uses": "acme.plant", "with": {"tree": tree}}
        return validator.is_valid({"name": "w", "steps": [step]})

    assert fits({"up": {"up": "{{ event.body }}"}})
    assert not fits({"up": {"up": 3}})
