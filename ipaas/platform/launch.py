"""Runs a module as a part of `ipaas up` that does not outlive it: `python -m ipaas.platform.launch MODULE ARGUMENT…`.

Standard input is a pipe that only the supervisor holds open at its other end. When that end closes, the supervisor is
gone, however it was killed: the part then stops as at SIGTERM, with a short time to finish.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

from foundation.private_files import keep_files_private

ORPHAN_SECONDS = 10.0
"""How long a part has to stop when its supervisor is gone. What it can't finish goes on after the next start."""


def main() -> None:
    module, *arguments = sys.argv[1:]
    keep_files_private()
    threading.Thread(target=_stop_when_alone, args=(sys.stdin.fileno(),), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _stop_when_alone(supervisor: int) -> None:
    while os.read(supervisor, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
