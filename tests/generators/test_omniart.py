"""The pipeline on a published generator that is not ours: sample, tag, fit, edit, measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import omniart
import pytest
import torch
from places import ROOT, SUPPORT
from torch import Tensor

import latentedit as le
from latentedit.errors import MismatchError
from latentedit.generators import Generator
from latentedit.samples.store import Samples
from latentedit.taggers import Tagger

pytestmark = pytest.mark.skipif(omniart.weight_file() is None, reason="omniart-eye-generator is not installed")

STRENGTH = 3.0
UNSEEN = range(10_000, 10_016)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return le.load_generator("torch:omniart:eyes")


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return le.load_tagger("torch:omniart:colours?threshold=0.5")


@pytest.fixture(scope="module")
def samples(generator: Generator, tagger: Tagger, tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return le.sample(generator, tmp_path_factory.mktemp("omniart") / "samples", tagger=tagger, n=300, seed=0)


@pytest.fixture(scope="module")
def codes(generator: Generator) -> Tensor:
    """Codes that no direction was fitted on."""
    return generator.sample_codes(UNSEEN)


@pytest.fixture(scope="module")
def before(generator: Generator, tagger: Tagger, codes: Tensor) -> Tensor:
    return tagger.score(generator.decode(codes)).mean(0)


def of_equal_length(codes: Tensor, edited: Tensor, seed: int) -> Tensor:
    """Codes moved as far as the edit moved them, in a random direction."""
    step = torch.randn(1, codes.shape[1], generator=torch.Generator().manual_seed(seed))
    return codes + step / step.norm() * (edited - codes).norm(dim=1, keepdim=True)


def test_the_published_weights_draw_eyes_of_the_asked_colour(generator: Generator, tagger: Tagger) -> None:
    assert (generator.z_dim, generator.dim, generator.resolution) == (108, 108, 128)
    scores = {
        colour: tagger.score(generator.decode(generator.sample_codes(range(12), label=number))).mean(0)
        for number, colour in enumerate(omniart.COLOURS)
    }
    for colour, tag in (("blue", "blue_eyes"), ("green", "green_eyes"), ("red", "red_eyes"), ("amber", "amber_eyes")):
        column = tagger.tags.index(tag)
        assert max(scores, key=lambda name: float(scores[name][column])) == colour
    assert max(scores, key=lambda name: float(scores[name][tagger.tags.index("colourless")])) == "grayscale"


def test_a_seed_has_one_code(generator: Generator, samples: Samples) -> None:
    alone, among = generator.sample_codes([17]), generator.sample_codes(range(40))[17:18]
    assert torch.equal(alone, among)
    assert set(generator.sample_codes(range(200))[:, omniart.Z_DIM :].argmax(1).tolist()) == set(range(8))


def test_linear_directions_raise_their_tag_on_unseen_codes(
    generator: Generator, tagger: Tagger, samples: Samples, codes: Tensor, before: Tensor
) -> None:
    bank = le.fit_directions(samples, finder="linear")
    assert set(bank.tags) == set(tagger.tags)
    for number, tag in enumerate(bank.tags):
        column = tagger.tags.index(tag)
        edited = bank.edit(codes, {tag: STRENGTH})
        random = of_equal_length(codes, edited, number)
        rise = float(tagger.score(generator.decode(edited)).mean(0)[column] - before[column])
        by_chance = float(tagger.score(generator.decode(random)).mean(0)[column] - before[column])
        assert rise > 0.25, f"{tag} rose by {rise:.2f}"
        assert rise > by_chance + 0.2, f"{tag} rose by {rise:.2f}, along a random direction by {by_chance:.2f}"


def test_svd_directions_raise_their_tags_on_average(
    generator: Generator, tagger: Tagger, samples: Samples, codes: Tensor
) -> None:
    # z is isotropic here, so the leading singular vector of a tag's codes says little, and single tags may not rise.
    bank, codes = le.fit_directions(samples, finder="svd"), codes[:8]
    before = tagger.score(generator.decode(codes)).mean(0)
    rises, falls, by_chance = [], [], []
    for number, tag in enumerate(bank.tags):
        column = tagger.tags.index(tag)
        edited = bank.edit(codes, {tag: STRENGTH})
        for moved, changes in (
            (edited, rises),
            (bank.edit(codes, {tag: -STRENGTH}), falls),
            (of_equal_length(codes, edited, number), by_chance),
        ):
            changes.append(float(tagger.score(generator.decode(moved)).mean(0)[column] - before[column]))
    rise, fall, chance = (sum(changes) / len(changes) for changes in (rises, falls, by_chance))
    assert rise > 0.05 and rise > chance + 0.05, f"{rise:.2f}, along random directions {chance:.2f}"
    assert fall < rise - 0.1, f"{fall:.2f} backwards, {rise:.2f} forwards"


def test_directions_are_refused_by_another_generator(samples: Samples) -> None:
    from toy import ToyGenerator

    bank = le.fit_directions(samples, finder="linear", tags=["blue_eyes"])
    with pytest.raises(MismatchError, match="torch:"):
        bank.check_generator(ToyGenerator())


def test_from_the_command_line_in_the_folder_of_the_module(tmp_path: Path) -> None:
    here = SUPPORT
    command = [sys.executable, "-m", "latentedit.cli", "sample", str(tmp_path / "samples"), "--n", "4"]
    command += ["--generator", "torch:omniart:eyes", "--tagger", "torch:omniart:colours"]
    # An installed script does not look into the working directory by itself, hence the safe path.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    stored = le.open_samples(tmp_path / "samples")
    assert stored.generator_id == le.load_generator("torch:omniart:eyes").id
