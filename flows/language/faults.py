"""What is wrong with a workflow: every fault with its place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from flows.language.definition import Declaration, Path
from foundation.errors import DefinitionError


class DefinitionErrors(DefinitionError):
    """All the faults that were found at once. `str()` has one a line."""

    def __init__(self, errors: Sequence[DefinitionError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in errors))
        first = self.errors[0]
        self.message, self.file, self.line, self.column = first.message, first.file, first.line, first.column


MOST_FAULTS: Final = 100
"""Of one file: what is wrong in more places is wrong in one way, and looking for all of it takes long."""


class Enough(Exception):
    """So many faults were found that the rest is not looked for."""


class Faults:
    """What is wrong with a declaration, each fault with its file, line and column."""

    def __init__(self, declaration: Declaration) -> None:
        self._declaration = declaration
        self.found: list[DefinitionError] = []

    def unheard(self) -> Faults:
        """Faults of the same declaration that are told to nobody."""
        return Faults(self._declaration)

    def add(self, path: Path, message: str) -> None:
        """Notes a fault of what stands at `path`. Raises Enough when there are so many that no more need be found."""
        if len(self.found) == MOST_FAULTS:
            self.found.append(DefinitionError(f"more than {MOST_FAULTS} faults", file=self._declaration.file))
        if len(self.found) > MOST_FAULTS:
            raise Enough
        line, column = self._declaration.position(*path)
        self.found.append(
            DefinitionError(f"{written(path)}: {message}", file=self._declaration.file, line=line, column=column)
        )


def written(path: Path) -> str:
    """`steps[0].retry.delay`"""
    written = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return written.removeprefix(".")
