"""Preparing pictures ahead, so that a tagger's network, and not what feeds it, is the limit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from latentedit.pictures.pieces import in_pieces
from latentedit.taggers.base import PictureTagger, Prepared, Tagger, eight_bits

T = TypeVar("T")
_END: Any = object()
_PROCESSOR = torch.device("cpu")


def one_ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items; each is made in a worker thread while the one before is used.

    What the worker raises is raised here, in its turn. A consumer that stops waits for the item in work.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as worker:
        coming = worker.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = worker.submit(next, iterator, _END)
            yield item


def feed(items: Iterable[T], tagger: Tagger) -> Iterator[T]:
    """The same items, made one ahead where that pays: there is a processor core that the tagger's network leaves free.

    Where the network has all cores, a worker that takes one of them makes the others wait at every layer, and tagging
    is slower with it than without (``benchmarks/tagging.py`` compares).
    """
    on_processor = getattr(tagger, "device", _PROCESSOR).type == "cpu"
    return iter(items) if on_processor and torch.get_num_threads() >= _cores() else one_ahead(items)


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def halves(tagger: Tagger) -> tuple[Callable[[Tensor], Any], Callable[[Any], Tensor]]:
    """What a worker may do with pictures (n, 3, H, W) in [-1, 1], and what turns that into scores (n, tags).

    Pictures are rounded to 8 bits in the first. A tagger that is not made of two halves scores in the second. Where
    memory runs out there, it goes on with fewer pictures at once.
    """
    score = tagger.score
    if isinstance(tagger, PictureTagger):
        prepare = tagger.prepare
        return lambda images: prepare(eight_bits(images)), tagger.predict_in_pieces
    return (
        lambda images: eight_bits(images).float() / 127.5 - 1,
        lambda images: in_pieces(lambda rows: score(images[rows]), len(images), tagger),
    )


def join(prepared: list[Prepared]) -> Prepared:
    """Rows of several preparations as one batch."""
    if isinstance(prepared[0], Tensor):
        return torch.cat([rows for rows in prepared if isinstance(rows, Tensor)])
    return np.concatenate(prepared)
