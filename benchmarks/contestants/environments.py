"""Environments of the peers' own, in a cache folder that git ignores: none of them is a dependency of the product."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestants.contestant import Unavailable, run

CACHE = Path(__file__).parents[2] / ".bench"
_ARCHITECTURE = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64"}.get(
    platform.machine().lower(), platform.machine()
)
NODE = f"node-{sys.platform}-{_ARCHITECTURE}@24"
"""n8n wants a newer Node than many machines have; this package is just that."""


def python_environment(name: str, requirements: Sequence[str]) -> Path:
    """The `bin` of a virtual environment with these packages; made once. Raises Unavailable."""
    folder = CACHE / "peers" / name
    done, wanted = folder / "installed", "\n".join(requirements)
    if not done.exists() or done.read_text() != wanted:
        log = _log(name)
        run([sys.executable, "-m", "venv", "--clear", str(folder)], log)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements]
        run(pip, log)
        done.write_text(wanted)
    return folder / "bin"


def node_environment(name: str, package: str, *, built: Sequence[str] = ()) -> Path:
    """The folder of a Node project with this package; made once. Raises Unavailable.

    Args:
        built: packages with native code that is needed. No other package's install scripts are run: they fetch and
            compile what the benchmark never uses.
    """
    folder = CACHE / "peers" / name
    done = folder / "installed"
    if done.exists() and done.read_text() == package:
        return folder
    if not shutil.which("npm"):
        raise Unavailable("there is no npm on this machine")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}')
    log, node = _log(name), folder / "node_modules" / NODE.partition("@")[0]
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    environment = {"PATH": f"{node / 'bin'}{os.pathsep}{os.environ['PATH']}", "npm_config_nodedir": str(node)}
    run(["npm", "install", "--ignore-scripts", *quiet, NODE, package], log, cwd=folder)
    for native in built:
        run(["npm", "rebuild", *quiet, native], log, cwd=folder, env=environment)
    done.write_text(package)
    return folder


def _log(name: str) -> Path:
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"install-{name}.log"
