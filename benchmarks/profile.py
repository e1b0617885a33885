"""`make profile`: flame graphs of each process of the platform under load, in .bench/profile/. py-spy makes them."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

import psutil

from benchmarks.contestants import Work
from benchmarks.contestants.contestant import Running, Unavailable
from benchmarks.contestants.environments import CACHE, python_environment
from benchmarks.contestants.ours import MODES, Ours, part
from benchmarks.race import Lane, Plan
from benchmarks.receiver import receiving

FOLDER = CACHE / "profile"
PY_SPY = "py-spy==0.4.3"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make profile", description=__doc__)
    parser.add_argument("--mode", choices=MODES, default="standard")
    parser.add_argument("--seconds", type=int, default=20, help="how long to look")
    parser.add_argument("--steps", type=int, choices=(1, 3), default=1, help="of the workflow")
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    ours, work = Ours(asked.mode), Work.THREE if asked.steps == 3 else Work.ONE
    try:
        py_spy = python_environment("py-spy", [PY_SPY]) / "py-spy"
        with tempfile.TemporaryDirectory(prefix="ipaas-profile-") as folder, receiving() as receiver:
            lane = Lane(ours, receiver, Plan(rounds=1, storm_seconds=asked.seconds, sustain_seconds=0))
            ours.prepare(Path(folder) / "platform", receiver.url)
            running = ours.start()
            try:
                lane.first_event(running, time.monotonic())
                rate = lane.warm_up(running) / work.steps
                events = int(rate * (asked.seconds + 5)) + 1
                sending = Thread(target=lane.send, args=(running, work, "storm", events))
                sending.start()
                _record(py_spy, running, f"{asked.mode}-", asked.seconds)
                sending.join()
            finally:
                running.stop()
    except Unavailable as error:
        sys.exit(f"make profile: {error}")


def _record(py_spy: Path, running: Running, prefix: str, seconds: int) -> None:
    """Looks at every process at once, a hundred times a second, and tells which files it wrote."""
    top = psutil.Process(running.processes[0].pid)
    recorders = []
    for process in (top, *top.children(recursive=True)):
        name = part(process.cmdline()).replace("'", "").replace(" ", "-").lower()
        file = FOLDER / f"{prefix}{name}.svg"
        argv = [str(py_spy), "record", "--pid", str(process.pid), "--duration", str(seconds), "--output", str(file)]
        recorders.append((file, subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)))
    for file, recorder in recorders:
        _, said = recorder.communicate(timeout=seconds + 60)
        print(file if recorder.returncode == 0 else f"{file.name}: {said.strip()}", flush=True)


if __name__ == "__main__":
    main()
