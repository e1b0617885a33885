"""The command line in this process, in a home of its own and without a platform."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from flows.history import HistoryStore, open_store
from flows.history.migrations import upgrade
from ipaas.cli import main

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document it must be."""
        return json.loads(self.out)


Ipaas = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home that commands use; nothing of the machine's own settings is left."""
    before, root = dict(os.environ), logging.getLogger()
    handlers, level = list(root.handlers), root.level
    for name in list(os.environ):
        if name.startswith(("IPAAS_", "PREFECT_")):
            del os.environ[name]
    os.environ["IPAAS_HOME"] = str(tmp_path / "home")
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        yield tmp_path / "home"
    os.environ.clear()
    os.environ.update(before)
    root.handlers, root.level = handlers, level


@pytest.fixture
def ipaas(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ipaas:
    """Runs `ipaas …`."""

    def run(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["ipaas", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def empty_history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history's database with all its tables."""
    path = tmp_path_factory.mktemp("history") / "ipaas.db"
    asyncio.run(upgrade(f"sqlite:///{path}"))
    return path


@pytest.fixture
def in_history(home: Path, empty_history: Path) -> Callable[[Callable[[HistoryStore], Awaitable[T]]], T]:
    """Does something with the home's history, which is there from then on."""

    def do(work: Callable[[HistoryStore], Awaitable[T]]) -> T:
        async def run() -> T:
            database = home / "ipaas.db"
            if not database.exists():
                home.mkdir(exist_ok=True)
                shutil.copy(empty_history, database)
            store = open_store(f"sqlite:///{database}")
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    return do


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file beside the home."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
