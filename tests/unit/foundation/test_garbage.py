"""What is loaded is never searched for garbage again; what comes later is, at times."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from foundation.garbage import NEW_OBJECTS, search_garbage_seldom


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Node:
    """One in a cycle with itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_loaded_is_set_aside() -> None:
    node = Node()

    search_garbage_seldom()

    assert gc.is_tracked(node)
    assert not any(one is node for one in gc.get_objects())


def test_garbage_that_is_there_already_is_not_kept() -> None:
    gone = weakref.ref(Node())

    search_garbage_seldom()

    assert gone() is None


def test_garbage_that_comes_later_goes_once_there_are_many_new_objects() -> None:
    search_garbage_seldom()
    gone = weakref.ref(Node())
    few = [Node() for _ in range(NEW_OBJECTS // 20)]
    assert gone() is not None

    many = [Node() for _ in range(NEW_OBJECTS)]

    assert gone() is None
    assert len(few) + len(many) > NEW_OBJECTS
