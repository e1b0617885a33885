"""Which files define workflows. Nothing is executed to know it: Python files are parsed."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from foundation.errors import DefinitionError

YAML_SUFFIXES: Final = (".yaml", ".yml")
CASES_SUFFIXES: Final = tuple(f".test{suffix}" for suffix in YAML_SUFFIXES)
"""Of the files with the test cases of a workflow, which are no workflows."""

_LEFT_OUT: Final = frozenset({"__pycache__", "node_modules"})
_IMPORTS_FLOWS: Final = re.compile(rb"^\s*(from|import)\s+flows\b", re.MULTILINE)
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def find_workflow_files(paths: Iterable[Path], suffixes: Sequence[str] = YAML_SUFFIXES) -> Iterator[Path]:
    """The files, and those with one of these suffixes in the folders, however deep. What is hidden is left out, and so
    are virtual environments, folders of caches and packages, and files of test cases.

    Raises:
        DefinitionError: a path does not exist.
    """
    return (path for path in _found(paths, suffixes) if not has_cases(path))


def find_case_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files of test cases among these files and in these folders. Raises as `find_workflow_files`."""
    return (path for path in _found(paths, YAML_SUFFIXES) if has_cases(path))


def has_cases(path: Path) -> bool:
    """Whether it is a file of test cases, `NAME.test.yaml`."""
    return path.name.endswith(CASES_SUFFIXES)


def _found(paths: Iterable[Path], suffixes: Sequence[str]) -> Iterator[Path]:
    for path in dict.fromkeys(paths):
        if path.is_dir():
            yield from sorted(found for found in _files_in(path) if found.suffix in suffixes)
        elif path.exists():
            yield path
        else:
            raise DefinitionError("there is no such file or folder", file=str(path))


def defines_workflows(path: Path) -> bool:
    """Whether a Python file applies the decorator `workflow` of `flows`, by whatever name it imported it.

    The decorator is to be seen in the file: where it is applied by another module's function, it is not found.

    Raises:
        DefinitionError: the file imports `flows` and can't be parsed.
    """
    source = path.read_bytes()
    if b"flows" not in source or b"workflow" not in source:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's files
            tree = ast.parse(source, str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if not _IMPORTS_FLOWS.search(source):
            return False
        said, *place = (
            (error.msg, error.lineno, error.offset) if isinstance(error, SyntaxError) else (error, None, None)
        )
        line, column = place
        raise DefinitionError(f"{type(error).__name__}: {said}", file=str(path), line=line, column=column) from None
    return _Names().applied_in(tree.body)


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not _is_left_out(Path(parent, name))]
        yield from (found for name in files if not name.startswith(".") and (found := Path(parent, name)).is_file())


def _is_left_out(folder: Path) -> bool:
    return folder.name.startswith(".") or folder.name in _LEFT_OUT or (folder / "pyvenv.cfg").exists()


class _Names:
    """The names that the decorator has in a module, followed through its statements in their order."""

    def __init__(self) -> None:
        self._decorators: set[str] = set()
        self._modules: set[str] = set()

    def applied_in(self, statements: Sequence[ast.stmt]) -> bool:
        """Whether the decorator is applied when these are executed. A function's body is not, before it is called."""
        return any(self._is_applied_in(statement) for statement in statements)

    def _is_applied_in(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._import(statement)
            return False
        if isinstance(statement, _Function):
            if any(self._is_decorator(one) or self._applies(one) for one in statement.decorator_list):
                return True
            if self._applies(statement):
                self._decorators.add(statement.name)  # it makes decorators of ours
            return False
        if isinstance(statement, ast.ClassDef):
            return False
        if isinstance(statement, ast.Assign) and self._is_decorator(statement.value):
            self._decorators |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        expressions = (child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.expr))
        return any(map(self._applies, expressions)) or any(map(self.applied_in, _inner(statement)))

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        if isinstance(statement, ast.Import):
            for name in statement.names:
                if name.name.partition(".")[0] == "flows":
                    self._modules.add(name.asname or "flows")
        elif not statement.level and (statement.module or "").partition(".")[0] == "flows":
            for name in statement.names:
                if name.name in ("workflow", "*"):
                    self._decorators.add(name.asname or "workflow")

    def _applies(self, code: ast.AST) -> bool:
        """Whether the decorator is called, or stands above a function, somewhere in this code."""
        return any(
            self._is_decorator(node.func)
            if isinstance(node, ast.Call)
            else isinstance(node, _Function) and any(map(self._is_decorator, node.decorator_list))
            for node in ast.walk(code)
        )

    def _is_decorator(self, expression: ast.expr) -> bool:
        if isinstance(expression, ast.Name):
            return expression.id in self._decorators
        return (
            isinstance(expression, ast.Attribute)
            and expression.attr == "workflow"
            and _root(expression.value) in self._modules
        )


def _inner(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of statements in an `if`, `for`, `with`, `try` or `match`."""
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for name in ("handlers", "cases"):
        for part in getattr(statement, name, []):
            yield part.body


def _root(expression: ast.expr) -> str | None:
    while isinstance(expression, ast.Attribute):
        expression = expression.value
    return expression.id if isinstance(expression, ast.Name) else None
