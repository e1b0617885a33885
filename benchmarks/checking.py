"""How long authors wait for `ipaas check`, from the command to its end, against loading Prefect alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from ipaas.checking import CATALOG

FILES = 100
ROUNDS = 7


def measure(folder: Path) -> list[tuple[str, str, str, str]]:
    text = (CATALOG / "order-confirmed.yaml").read_text(encoding="utf-8")
    workflows = folder / "to-check"
    workflows.mkdir()
    for number in range(FILES):
        (workflows / f"{number}.yaml").write_text(text.replace("order-confirmed", f"order-{number}"))
    check, prefect = [], []
    for _ in range(ROUNDS):
        check.append(_seconds("-m", "ipaas", "check", str(workflows)))
        prefect.append(_seconds("-c", "import prefect"))
    ours, theirs = statistics.median(check), statistics.median(prefect)
    what = f"`ipaas check` of {FILES} files, median"
    return [(what, f"{ours:.2f} s", f"`import prefect` {theirs:.2f} s", f"{theirs / ours:.1f}×")]


def _seconds(*arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun
