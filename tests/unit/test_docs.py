"""The documentation is true: its workflows check, its links lead somewhere, its reference is what the code is."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
from executing import bench, in_yaml

import flows
from connectors.kit.registry import BUILT_IN, registry
from connectors.webhooks import scheme_names
from flows.expressions.filters import DEFAULT_FILTERS, FILTERS
from flows.expressions.methods import METHOD_NAMES
from flows.expressions.predicates import TESTS
from flows.language.definition import (
    METHODS,
    Concurrency,
    Failure,
    Poll,
    Respond,
    Schedule,
    Webhook,
)
from flows.language.flow_control import Batch, Debounce, Throttle
from flows.language.kinds import KINDS
from flows.language.repeat import Rounds
from flows.language.step import Step
from flows.language.uses import Retry
from flows.language.workflow import Workflow
from flows.on_prefect.python_source import load_python_file
from ipaas.checking import check
from ipaas.eject import eject

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^ *```(\w+) workflow\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def named_in(text: str) -> set[str]:
    """What stands in backquotes, a filter's or command's arguments left out."""
    return {word for code in CODE.findall(text) for word in (code, re.split(r"[(: ]", code)[0])}


def section(text: str, heading: str) -> str:
    """From the heading to the next one of any rank."""
    found = re.search(rf"^{re.escape(heading)}$(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no {heading!r}"
    return found[1]


def snippets() -> list[tuple[str, str, str]]:
    found = []
    for path in PAGES:
        for number, (language, source) in enumerate(FENCE.findall(path.read_text(encoding="utf-8")), start=1):
            found.append((f"{path.relative_to(ROOT)}-{number}", language, source))
    return found


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("language", "source"), [pytest.param(*found[1:], id=found[0]) for found in snippets()])
def test_a_workflow_of_the_documentation_checks(language: str, source: str, tmp_path: Path) -> None:
    file = tmp_path / {"yaml": "workflow.yaml", "python": "workflow.py"}[language]
    file.write_text(source, encoding="utf-8")
    assert [str(fault) for fault in check([file])] == []


@pytest.mark.parametrize("source", [source for _, language, source in snippets() if language == "yaml"])
def test_a_yaml_workflow_of_the_documentation_can_be_ejected(source: str, tmp_path: Path) -> None:
    file = tmp_path / "workflow.py"
    file.write_text(eject(source), encoding="utf-8")
    assert [str(fault) for fault in check([file])] == []


EXAMPLE = re.compile(
    r"^```(yaml|python) workflow\n(.*?)^```\n+```json event\n(.*?)^```\n+```json output\n(.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
WITH_EXAMPLES = ("how-to/loops-and-branches.md", "how-to/python-loops-and-steps.md")
EXAMPLES = [found for name in WITH_EXAMPLES for found in EXAMPLE.findall(page(name))]
FORMS = [*EXAMPLES, *(("ejected", *rest) for language, *rest in EXAMPLES if language == "yaml")]


@pytest.mark.parametrize(("language", "source", "event", "output"), FORMS)
async def test_an_example_gives_what_it_says(
    language: str, source: str, event: str, output: str, tmp_path: Path
) -> None:
    if language == "yaml":
        flow = in_yaml(source)
    else:
        file = tmp_path / "example.py"
        file.write_text(eject(source) if language == "ejected" else source, encoding="utf-8")
        [flow] = load_python_file(file)
    async with bench() as on:
        execution = await on.run(flow, json.loads(event))
    assert (execution.error, execution.output) == (None, json.loads(output))


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_every_workflow_of_these_pages_is_such_an_example(name: str) -> None:
    assert len(EXAMPLE.findall(page(name))) == len(FENCE.findall(page(name))) >= 4


def test_the_readme_has_a_workflow_in_both_languages() -> None:
    assert {language for name, language, _ in snippets() if name.startswith("README.md")} == {"yaml", "python"}


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        file, _, anchor = link.partition("#")
        if "://" in file:
            continue
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            broken.append(link)
    assert broken == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, open_pages = set[Path](), [ROOT / "README.md"]
    while open_pages:
        path = open_pages.pop()
        if path in reached:
            continue
        reached.add(path)
        links = (link.partition("#")[0] for link in LINK.findall(path.read_text(encoding="utf-8")) if "://" not in link)
        targets = [(path.parent / link).resolve() for link in links if link]
        open_pages += [
            target / "README.md" if target.is_dir() else target for target in targets if target.suffix in ("", ".md")
        ]
        open_pages = [target for target in open_pages if target.suffix == ".md" and target.exists()]
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_generated_parts_are_as_the_code_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert generator().written(text) == text, "stale: run `python docs/generate.py`"


@pytest.mark.parametrize("path", generator().FILES, ids=lambda path: path.name)
def test_generated_files_are_as_the_code_is(path: Path) -> None:
    assert generator().FILES[path]() == path.read_text(encoding="utf-8"), "stale: run `python docs/generate.py`"


KEYS = {
    "## The workflow": Workflow,
    "### `concurrency`": Concurrency,
    "### `throttle`": Throttle,
    "### `debounce`": Debounce,
    "### `batch`": Batch,
    "### `webhook`": Webhook,
    "### `schedule`": Schedule,
    "### `poll`": Poll,
    "### `failure`": Failure,
    "## A step": Step,
    "### `retry`": Retry,
    "## `respond`": Respond,
}


@pytest.mark.parametrize(("heading", "model"), KEYS.items(), ids=[heading.strip("# `") for heading in KEYS])
def test_the_reference_has_exactly_the_keys_of_a_workflow(heading: str, model: type[Workflow]) -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(page("reference/workflow-yaml.md"), heading), re.MULTILINE)
    assert sorted(set(told)) == sorted(field.alias or name for name, field in model.model_fields.items())


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_has_exactly_the_keys_of_each_kind(kind: str) -> None:
    told = re.findall(r"^\| `(\w+)` \|", section(page("reference/workflow-yaml.md"), f"### `{kind}`"), re.MULTILINE)
    own = [field.alias or name for name, field in KINDS[kind].model_fields.items() if name not in Step.model_fields]
    assert sorted(told) == sorted(own)


def test_the_reference_names_what_a_workflow_can_say_in_short() -> None:
    text = page("reference/workflow-yaml.md")
    assert missing_from(text, (*Concurrency.model_fields, *METHODS, *Rounds.model_fields)) == []


def test_the_reference_names_all_that_python_workflows_are_given() -> None:
    assert missing_from(page("reference/workflow-python.md"), flows.__all__) == []


def missing_from(text: str, names: Iterable[str]) -> Sequence[str]:
    return [name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


EXPRESSION_WORDS = {
    "## Filters": set(FILTERS) | DEFAULT_FILTERS,
    "## Tests": set(TESTS),
    "## Methods": set(METHOD_NAMES),
}


@pytest.mark.parametrize(
    ("heading", "words"), EXPRESSION_WORDS.items(), ids=[key.strip("# ") for key in EXPRESSION_WORDS]
)
def test_the_reference_has_exactly_the_words_of_expressions(heading: str, words: set[str]) -> None:
    named = {re.split(r"\(", word)[0] for word in named_in(section(page("reference/expressions.md"), heading))}
    explained = {"map", "is", "select", "reject", "selectattr", "rejectattr", "attribute='a.b'"}
    assert words - named == set()
    assert named - words - explained == set()


def test_the_reference_has_every_webhook_scheme() -> None:
    told = re.findall(
        r"^\| `([\w-]+)` \|", page("reference/webhook-schemes.md").partition("## `custom`")[0], re.MULTILINE
    )
    assert sorted(told) == sorted(scheme_names())


def test_the_reference_has_every_action_that_ships() -> None:
    told = re.findall(r"^### (\w+\.\w+)$", page("reference/connectors.md"), re.MULTILINE)
    assert told == [name for name in registry() if name.partition(".")[0] in BUILT_IN]


def test_the_connector_of_the_how_to_is_the_one_that_tests_install() -> None:
    package = ROOT / "tests" / "packages" / "acme_parcels" / "acme_parcels.py"
    assert f"```python\n{package.read_text(encoding='utf-8')}```" in page("how-to/write-a-connector.md")


def test_every_refusal_of_the_gateway_is_in_the_reference() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "ipaas" / "gateway").glob("*.py"))
    statuses = set(re.findall(r"Problem\((\d{3})", sources))
    assert statuses
    assert missing_from(page("reference/http-api.md"), statuses) == []


OPTION = re.compile(r"(?:^ *|`|\| )(ipaas [^`\n|#]*)", re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_and_option_exists(path: Path) -> None:
    known = known_commands()
    wrong = []
    for line in OPTION.findall(path.read_text(encoding="utf-8")):
        words = line.split()[1:]
        if not words or not re.fullmatch(r"[a-z]+", words[0]):
            continue
        name = next((one for one in (" ".join(words[:2]), words[0]) if one in known), None)
        if name is None:
            wrong.append(line)
            continue
        wrong += [
            f"{line} ({word})" for word in words if word.startswith("--") and word.partition("=")[0] not in known[name]
        ]
    assert wrong == []


def known_commands() -> dict[str, set[str]]:
    """Every command and group with its options."""
    module = generator()
    known: dict[str, set[str]] = {}
    for path, command in module.walk(module.typer.main.get_command(module.app), ("ipaas",)):
        options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        known[" ".join(path[1:])] = options | {"--help"}
        for length in range(2, len(path)):
            known.setdefault(" ".join(path[1:length]), {"--help"})
    return known


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_exists(path: Path) -> None:
    from foundation.settings import AwsSettings, Settings, VaultSettings

    groups = {"": Settings, "VAULT__": VaultSettings, "AWS__": AwsSettings}
    known = {f"IPAAS_{group}{name.upper()}" for group, of in groups.items() for name in of.model_fields}
    named = set(re.findall(r"\bIPAAS_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8")))
    assert {name for name in named if not name.startswith("IPAAS_CONNECTORS__")} - known == set()


MAKE = re.compile(r"`make ([a-z]+)|^make ([a-z]+)", re.MULTILINE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {first or second for first, second in MAKE.findall(path.read_text(encoding="utf-8"))}
    assert named - targets == set()
