"""prefect-ipaas, as `ipaas up` starts it, in one of its modes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants.contestant import Contestant, Running, Unavailable, Work, clean_environment, stop
from benchmarks.contestants.postgres import database
from benchmarks.load import Target
from benchmarks.processes import Tree
from tests.platform_process import PARTS, Platform

MODES = ("standard", "express")

_STEP = """\
  - id: post-{n}
    uses: http.request
    with: {{method: POST, url: "{url}", json: {{n: "{{{{ event.body.n }}}}"}}}}"""
_PLATFORM = "ipaas.platform."
_PARTS = {PARTS["prefect"]: "Prefect's server", PARTS["gateway"]: "gateway", PARTS["worker"]: "worker"}


class Ours(Contestant):
    def __init__(self, mode: str, *, postgres: bool = False) -> None:
        self.key = f"{mode}-postgres" if postgres else mode
        self.title = f"prefect-ipaas, {mode}"
        self.version = "this one"
        self.store = "PostgreSQL" if postgres else "SQLite"
        self._mode, self._postgres = mode, postgres
        self._platform: Platform | None = None
        self._databases: list[str] = []
        self._open = ExitStack()

    def prepare(self, home: Path, receiver: str) -> None:
        workflows = home / "workflows"
        workflows.mkdir(parents=True)
        for work in Work:
            (workflows / f"{work}.yaml").write_text(workflow(work, self._mode, receiver), encoding="utf-8")
        self._check(workflows)
        environment = {}
        if self._postgres:
            history, prefect = (self._open.enter_context(database()) for _ in range(2))
            self._databases = [url.rpartition("/")[2] for url in (history, prefect)]
            environment["IPAAS_DATABASE_URL"] = history
            environment["PREFECT_API_DATABASE_CONNECTION_URL"] = prefect.replace("postgresql:", "postgresql+asyncpg:")
        self._platform = Platform(home / "home", workflows, environment)

    def start(self) -> Running:
        platform = self._platform
        assert platform
        with platform.log.open("ab") as log:
            process = subprocess.Popen(platform.command_line, env=platform.env(), stdout=log, stderr=log)
        targets = {work: Target(platform.port, f"/hooks/{work}") for work in Work}
        return _Up(Tree([process.pid], part, self._databases), targets, [process])

    def clear(self) -> None:
        self._open.close()

    def _check(self, workflows: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "ipaas", "check", str(workflows)],
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            raise Unavailable(
                f"`ipaas check` refuses its workflows: {said[0].replace(f'{workflows}/', '').partition(';')[0]}"
            )


class _Up(Running):
    def stop(self) -> None:
        """The supervisor gives its parts up to 60 s; it is not killed before."""
        for process in self.processes:
            process.terminate()
            process.wait(90)
        stop(self.processes)


def workflow(work: Work, mode: str, receiver: str) -> str:
    """The workflow file. Standard is what a workflow is that says nothing."""
    lines = [f"name: {work}", "triggers: [{webhook: {auth: none}}]"]
    if mode != "standard":
        lines.append(f"mode: {mode}")
    if work is Work.ANSWER:
        lines.append("respond: {when: finished}")
    lines.append("steps:")
    lines += [_STEP.format(n=n, url=f"{receiver}/{work}/{n}") for n in range(1, work.steps + 1)]
    return "\n".join(lines) + "\n"


def part(command: Sequence[str]) -> str:
    """Which part of the platform a command line is."""
    words = " ".join(command).split()
    own = [word.removeprefix(_PLATFORM) for word in words if word.startswith(_PLATFORM) and not word.endswith("launch")]
    return next((name for word, name in _PARTS.items() if word in words), own[0] if own else "supervisor")
