"""Python's search for garbage in cycles, in a process that runs for long: nothing else runs while it searches."""

from __future__ import annotations

import gc
from typing import Final

NEW_OBJECTS: Final = 10_000
"""How many more objects there are when the new ones are searched. Python's own 700 is for short scripts."""


def search_garbage_seldom(new_objects: int = NEW_OBJECTS) -> None:
    """To be called once, when all is loaded: what is there then stays, and is never searched again.

    With Prefect loaded that is some 300 000 objects, which would hold the event loop up for 100 to 300 ms each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(new_objects, 20, 100)
