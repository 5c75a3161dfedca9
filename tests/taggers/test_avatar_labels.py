"""Classes that enter the decoder rather than the code: sampling, tagging and the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from toy import ToyConditional, ToyGenerator, ToyTagger

from latentedit.generators.base import content_of_label
from latentedit.samples.sampling import sample
from latentedit.samples.tagging import tag


def test_a_class_lights_the_samples_and_stays_when_they_are_tagged_again(tmp_path: Path) -> None:
    generator = ToyConditional()
    runs = [
        sample(generator, tmp_path / str(label), tagger=ToyTagger(), n=40, label=label, batch_size=7)
        for label in (0, 1)
    ]
    codes = [run.read_codes(0).copy() for run in runs]
    assert np.array_equal(*codes)  # the class is no part of the code
    counts = [run.tag_counts() for run in runs]
    assert counts[0] != counts[1]

    other = ToyTagger(seed=7)
    expected = other.score(
        generator.decode(torch.from_numpy(codes[1]), content=generator.content_of_label(1)).clamp(-1, 1)
    )
    again = tag(runs[1], generator, other).tag_counts(other.id)
    assert again == {name: int((expected[:, i] >= 0.5).sum()) for i, name in enumerate(other.tags)}
    without = other.score(generator.decode(torch.from_numpy(codes[1])).clamp(-1, 1))
    assert any(again[name] != int((without[:, i] >= 0.5).sum()) for i, name in enumerate(other.tags))


def test_other_generators_have_no_content_of_a_class() -> None:
    assert content_of_label(ToyGenerator(), 1) is None and content_of_label(ToyConditional(), None) is None
