"""What a deploy would change: workflows in files against the published ones, key by key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from flows.history import Workflow as PublishedWorkflow
from flows.history import WorkflowVersion
from flows.language.definition import Declaration
from flows.language.step import StepsById
from flows.language.workflow import Workflow
from flows.language.yaml_source import load_workflow
from foundation.errors import DefinitionError


@dataclass(frozen=True)
class Change:
    """One difference. `path` is how the author finds it: `steps.notify.with.text`."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: Any = None
    after: Any = None


@dataclass(frozen=True)
class WorkflowChange:
    """A workflow's differences.

    `gone`: it was published from a file that is looked at and does not define it any more; a deploy leaves it as it is,
    unless it is to prune.
    `unchanged` with another version: only comments or layout differ.
    """

    workflow: str
    change: Literal["new", "changed", "unchanged", "gone"]
    file: str
    published: str | None
    """The version in force."""
    version: str | None
    """The version that a deploy would publish."""
    changes: Sequence[Change] = ()
    source: Sequence[str] = ()
    """A Python workflow's code, as a unified diff."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    paths: Sequence[Path], found: Sequence[WorkflowVersion], published: Sequence[PublishedWorkflow]
) -> list[WorkflowChange]:
    """The differences of each workflow, by name.

    Args:
        paths: the files and folders that were looked at.
        found: the workflows in them.
        published: all that are in force.
    """
    known = {workflow.name: workflow.current for workflow in published}
    changes = [_compare(known.get(version.workflow), version) for version in found]
    for one in gone(paths, found, published):
        changes.append(WorkflowChange(one.name, "gone", one.current.file, one.current.version, None))
    return sorted(changes, key=lambda change: change.workflow)


def gone(
    paths: Sequence[Path], found: Sequence[WorkflowVersion], published: Sequence[PublishedWorkflow]
) -> list[PublishedWorkflow]:
    """The workflows that take events and were published from these paths, where they are not found any more."""
    names, roots = {version.workflow for version in found}, [path.resolve() for path in paths]

    def is_looked_at(file: Path) -> bool:
        return any(root in (file, *file.parents) for root in roots)

    return [one for one in published if one.active and one.name not in names and is_looked_at(Path(one.current.file))]


def _compare(before: WorkflowVersion | None, after: WorkflowVersion) -> WorkflowChange:
    name, file = after.workflow, after.file
    if before is None:
        return WorkflowChange(name, "new", file, None, after.version, tuple(_differences("", {}, _data(after))))
    changes = tuple(_differences("", _data(before), _data(after)))
    source: tuple[str, ...] = ()
    if "python" in (before.language, after.language) and before.source != after.source:
        lines = difflib.unified_diff(before.source.splitlines(), after.source.splitlines(), n=1, lineterm="")
        source = tuple(list(lines)[2:])
    return WorkflowChange(
        name, "changed" if changes or source else "unchanged", file, before.version, after.version, changes, source
    )


def _data(version: WorkflowVersion) -> dict[str, Any]:
    """What the workflow says, defaults left out and steps by their ids."""
    definition: Declaration
    if version.language == "yaml":
        try:
            definition = load_workflow(version.source, file=version.file)
        except DefinitionError:  # published by another version of ipaas: its steps are not known here
            definition = Declaration.model_validate(version.declaration)
    else:
        definition = Declaration.model_validate(version.declaration)
    if isinstance(definition, Workflow):
        return definition.as_data()
    return definition.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _differences(path: str, before: Any, after: Any) -> Iterator[Change]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            place = f"{path}.{key}" if path else str(key)
            if key not in before:
                yield Change(place, "added", after=after[key])
            elif key not in after:
                yield Change(place, "removed", before=before[key])
            else:
                yield from _differences(place, before[key], after[key])
        common = [key for key in before if key in after]
        moved = [key for key in after if key in before]
        if isinstance(before, StepsById) and isinstance(after, StepsById) and common != moved:
            yield Change(path, "changed", common, moved)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{path}[{index}]", old, new)
    elif before != after:
        yield Change(path, "changed", before, after)
