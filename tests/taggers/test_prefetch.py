"""A worker prepares the next batch while the present one is scored."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from toy import ToyTagger, as_png

from latentedit.taggers import load_tagger
from latentedit.taggers.prefetch import feed, halves, join, one_ahead


def test_items_come_in_order_and_the_next_one_is_made_meanwhile() -> None:
    started = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for i, event in enumerate(started):
            event.set()
            yield i

    for i in one_ahead(items()):
        if i + 1 < len(started):
            assert started[i + 1].wait(10)  # without asking for it
        assert not any(event.is_set() for event in started[i + 2 :])  # and no further
    assert all(event.is_set() for event in started)


def test_the_worker_is_another_thread_with_as_many_threads() -> None:
    main, before = threading.get_ident(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seen = list(one_ahead((threading.get_ident(), torch.get_num_threads()) for _ in range(3)))
    finally:
        torch.set_num_threads(before)
    assert all(thread != main and threads == 1 for thread, threads in seen)


def test_errors_come_in_their_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    got = []
    with pytest.raises(ValueError, match="third"):
        for item in one_ahead(items()):
            got.append(item)
    assert got == [1, 2]
    assert list(one_ahead([])) == []


def test_who_stops_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    taken = []
    for item in one_ahead(range(1000)):
        taken.append(item)
        if item == 2:
            break
    del item
    assert taken == [0, 1, 2] and threading.active_count() <= before + 1
    ahead = one_ahead(range(1000))
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() <= before + 1


@pytest.mark.parametrize(
    ("threads", "cores", "device", "ahead"),
    [(2, 2, "cpu", False), (1, 2, "cpu", True), (8, 16, "cpu", True), (16, 16, "cpu", False), (2, 2, "meta", True)],
)
def test_a_worker_only_takes_a_core_that_the_network_leaves(
    monkeypatch: pytest.MonkeyPatch, threads: int, cores: int, device: str, ahead: bool
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("latentedit.taggers.prefetch._cores", lambda: cores)
    tagger = ToyTagger()
    tagger.device = torch.device(device)  # type: ignore[attr-defined]
    made_by = set(feed((threading.get_ident() for _ in range(3)), tagger))
    assert (threading.get_ident() not in made_by) == ahead and len(made_by) == 1


def test_two_halves_make_a_score() -> None:
    images = torch.rand(3, 3, 40, 48) * 2.4 - 1.2
    tagger = load_tagger("avatar")
    prepare, predict = halves(tagger)
    assert torch.equal(predict(prepare(images)), tagger.score(images))
    toy = ToyTagger()
    prepare, predict = halves(toy)
    small = torch.rand(3, 3, 16, 16) * 2.4 - 1.2
    assert torch.equal(predict(prepare(small)), toy.score(as_png(small)))
    assert not torch.equal(predict(prepare(small)), toy.score(small))


def test_rows_are_joined() -> None:
    assert torch.equal(join([torch.zeros(1, 2), torch.ones(2, 2)]), torch.tensor([[0.0, 0], [1, 1], [1, 1]]))
    np.testing.assert_array_equal(join([np.zeros((1, 2)), np.ones((1, 2))]), [[0, 0], [1, 1]])
