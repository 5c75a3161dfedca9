"""``torch:package.module:factory`` for taggers: defaults, checks and one-line errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from supplied import Scorer, broken, refusal
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.taggers import Tagger, load_tagger
from latentedit.taggers.base import thresholds_of


def test_the_least_tagger_gets_every_default(give: Callable[[Any], str]) -> None:
    tagger = load_tagger(give(Scorer()))
    assert isinstance(tagger, Tagger)
    assert (tagger.tags, tagger.threshold) == (("bright", "dark"), 0.5)
    assert tagger.id.startswith("torch:")
    assert torch.equal(tagger.score(torch.ones(2, 3, 4, 4)), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert tagger.score(torch.ones(0, 3, 4, 4)).shape == (0, 2)
    assert (tagger.thresholds, tagger.settings) == ({}, {})  # type: ignore[attr-defined]


def test_a_tagger_keeps_its_threshold_and_id(give: Callable[[Any], str]) -> None:
    tagger = load_tagger(give(broken(Scorer, threshold=1, id="mine:2", tags=["a", "b"])))
    assert (tagger.threshold, tagger.id, tagger.tags) == (1.0, "mine:2", ("a", "b"))
    tagger = load_tagger(give(broken(Scorer, thresholds={"dark": 0.8}, settings={"size": 4})))
    assert (tagger.thresholds, tagger.settings) == ({"dark": 0.8}, {"size": "4"})  # type: ignore[attr-defined]
    assert thresholds_of(tagger).tolist() == [0.5, 0.8]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"score": ...}, "without score"),
        ({"tags": ...}, "tags is None"),
        ({"tags": "bright"}, "tags is 'bright'"),
        ({"tags": ("a", "a")}, "different texts"),
        ({"tags": ("a", 1)}, "different texts"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"threshold": "high"}, "threshold is 'high'"),
        ({"id": 3}, "id is 3"),
        ({"thresholds": {"dark": 2}}, "thresholds['dark'] is 2"),
        ({"thresholds": [0.5]}, "thresholds is [0.5]; it must be a mapping"),
        ({"settings": {1: "a"}}, "settings is {1: 'a'}"),
    ],
)
def test_bad_taggers_are_refused_in_one_line(
    changes: dict[str, Any], expected: str, give: Callable[[Any], str]
) -> None:
    assert expected in refusal(load_tagger, give(broken(Scorer, **changes)))


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (lambda images: torch.zeros(len(images), 3), "one column a tag"),
        (lambda images: torch.zeros(1, 2), "shape"),
        (lambda images: torch.full((len(images), 2), torch.nan), "not finite"),
        (lambda images: torch.full((len(images), 2), 4.0), "sigmoid"),
        (lambda images: torch.full((len(images), 2), -0.5), "sigmoid"),
        (lambda images: torch.zeros(len(images), 2).bool(), "torch.bool"),
        (lambda images: [[0.5, 0.5]] * len(images), "list"),
        (lambda images: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_scores_are_refused_in_one_line(
    score: Callable[[Tensor], Any], expected: str, give: Callable[[Any], str]
) -> None:
    tagger = load_tagger(give(broken(Scorer, score=lambda self, images: score(images))))
    with pytest.raises(LatentEditError, match=expected) as caught:
        tagger.score(torch.zeros(2, 3, 4, 4))
    assert "\n" not in str(caught.value)
