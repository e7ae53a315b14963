"""Many documents, some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar('T')


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size` at most, taken from the iterable when they are asked for."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
