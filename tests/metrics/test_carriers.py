"""The generator's own pictures, on a linear world where carriers are known from their codes."""

import numpy as np
import pytest
import torch
from linear_world import Linear, Reader
from toy_features import Pool

from latentedit import load_tagger
from latentedit.editing.faces import Faces
from latentedit.errors import LatentEditError
from latentedit.metrics.carriers import FIRST_OWN, draw_own, natural_networks


def read(images):
    """The code itself."""
    return images[:, 0, :, 0] * 2


def drawn(targets=("smile",), faces=range(4), most=1500, networks=None, generator=None, **rest):
    return draw_own(
        generator or Linear(), Reader(), targets, faces, networks={"x": read} if networks is None else networks,
        most=most, **rest,
    )  # fmt: skip


@pytest.fixture(scope="module")
def codes():
    return Linear().sample_codes(range(FIRST_OWN, FIRST_OWN + 1500)).numpy()


def test_it_stops_with_600_carriers_whatever_the_batch(codes):
    a, b = drawn(batch_size=32), drawn(batch_size=7)
    carrying = np.flatnonzero(codes[:, 2] >= 0.5)
    assert len(a) == len(b) == carrying[599] + 1 and a.provenance["pictures"] == len(a)
    assert a.rows.tolist() == b.rows.tolist() == carrying[:600].tolist()
    assert np.allclose(a.features["x"], codes[carrying[:600]], atol=1e-6) and np.array_equal(a.scores, b.scores)
    assert len(a.carriers("smile")) == 600 and a.note("smile") == ""


def test_one_pass_serves_all_targets_and_keeps_no_more_features_than_needed(codes):
    told = []
    both = drawn(("smile", "hat", "wings"), most=700, progress=lambda *done: told.append(done))
    assert both.targets == ("smile", "hat") and len(both) == 700 and told[-1] == (700, 700)
    either = (codes[:700, 2] >= 0.5) | (codes[:700, 3] >= 0.5)
    assert both.rows.tolist() == np.flatnonzero(either).tolist()
    assert both.rows[both.carriers("hat")].tolist() == np.flatnonzero(codes[:700, 3] >= 0.5).tolist()
    drawn(progress=lambda *done: told.append(done))
    assert told[-1][0] == told[-1][1] < 1500  # the bar ends where the drawing does
    seen = []
    drawn(networks={"x": lambda images: seen.append(len(images)) or read(images)})
    assert sum(seen) == 600


def test_the_ceiling_is_carriers_less_lackers(codes):
    found = drawn(most=400).ceiling("smile")
    some = codes[:400, 2]
    assert found.value == pytest.approx(some[some >= 0.5].mean() - some[some < 0.5].mean(), abs=1e-6)
    assert found.low < 0.5 < found.high and found.high - found.low < 0.1  # two halves of a uniform distribution
    with pytest.raises(LatentEditError, match="does not measure 'wings'"):
        drawn(most=40).ceiling("wings")


def test_contents_are_taken_in_turn_and_are_the_groups():
    shift = torch.tensor([[0.0], [0.2], [-0.2]])
    own = drawn(faces=Faces(range(3), content=shift), most=90, batch_size=16)
    plain = drawn(most=90)
    assert own.groups.tolist() == [i % 3 for i in range(90)] and plain.groups is None
    assert np.allclose(own.scores, np.clip(plain.scores + shift.numpy()[own.groups], 0, 1), atol=1e-6)
    single = drawn(faces=Faces(range(3), content=torch.full((1, 1), 0.1)), most=90)
    assert single.groups is None and single.scores.mean() > plain.scores.mean()


def test_they_are_drawn_as_the_measured_faces_are():
    asked = []

    class Recording(Linear):
        def sample_codes(self, seeds, *, label=None, truncation=1.0):
            asked.append((label, truncation))
            return super().sample_codes(seeds)

        def decode(self, codes, *, content=None, noise="stored"):
            asked.append(noise)
            return super().decode(codes, content=content)

    faces = Faces(codes=torch.zeros(3, 4), truncation=0.7, noise=5)
    own = drawn(generator=Recording(), faces=faces, most=40, batch_size=40)
    assert asked == [(None, 0.7), 5] and len(own) == 40 and own.provenance["generator"] == "linear:1"


def test_the_networks_and_what_is_said_where_one_is_missing(monkeypatch):
    pool = Pool()
    pool.name = "pool"
    judge = load_tagger("judge:avatar")
    both, note = natural_networks(judge, pool)
    assert list(both) == ["pool", "judge"] and note == ""
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    assert both["judge"](images).shape == (2, 256) and both["pool"](images).shape == (2, 48)
    alone, note = natural_networks(Reader(), pool)
    assert list(alone) == ["pool"] and "by pool alone: the judge reader:1 gives no features" in note
    monkeypatch.setattr("latentedit.metrics.features.efficientnet.PACKAGE", "no_such_package")
    alone, note = natural_networks(judge)
    assert list(alone) == ["judge"] and "by judge alone" in note and "pip install 'latentedit[metrics]'" in note
    nothing, note = natural_networks(Reader())
    assert not nothing and note.startswith("no naturalness: ") and "\n" not in note


def test_the_features_of_judges():
    """They are what the last layer turns into scores."""
    images = torch.rand(3, 3, 128, 128) * 2 - 1
    judge, tagger = load_tagger("judge:avatar"), load_tagger("avatar")
    scores = torch.sigmoid(judge.network.fc(judge.features(images)))
    assert torch.allclose(scores, judge.score(images), atol=1e-6)
    assert torch.allclose(torch.sigmoid(tagger.network.head(tagger.features(images))), tagger.score(images), atol=1e-6)
    custom = load_tagger("torch:seeing:WithMaps")
    assert torch.allclose(custom.features(images), ((images + 1) * 127.5).round().mean((2, 3)) / 127.5 - 1, atol=1e-3)
    assert not hasattr(load_tagger("torch:toy:ToyTagger"), "features")
    assert not hasattr(load_tagger("torch:seeing:Numbered"), "features")
    with pytest.raises(LatentEditError, match="features returned shape"):
        load_tagger("torch:seeing:Flat").features(images)


def test_mistakes():
    with pytest.raises(LatentEditError, match="0 own pictures; draw 60 or more"):
        drawn(most=0)
    with pytest.raises(LatentEditError, match="gave features of shape"):
        drawn(networks={"x": lambda images: images}, most=40)
    with pytest.raises(LatentEditError, match="not finite|finite"):
        drawn(networks={"x": lambda images: read(images) / 0}, most=40)
