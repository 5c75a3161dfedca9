"""Naturalness, gap, ceiling and elsewhere in a re-scoring: one decode a picture, and answers that are known.

In the linear world codes fill a cube, and 5 σ along ``smile`` moves its lackers onto its carriers, to the point.
"""

import numpy as np
import pytest
import torch
from linear_world import TAGS, Linear, Reader, bank
from toy import ToyTagger, ToyTranslator

from latentedit import DirectionBank, Faces
from latentedit.directions.direction import Direction
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.metrics import rescore
from latentedit.metrics.carriers import draw_own
from latentedit.metrics.rescoring import Rescoring
from latentedit.tensorfile import write_safetensors


def read(images):
    return images[:, 0, :, 0] * 2


@pytest.fixture(scope="module")
def own():
    return draw_own(Linear(), Reader(), ["smile", "long_hair"], range(4), networks={"x": read}, most=700)


def scored(edits, own, n=250, **rest):
    return rescore(Linear(), Reader(), bank, edits, range(n), own=own, n_boot=300, **rest)


@pytest.fixture(scope="module")
def found(own):
    edits = [{"smile": s} for s in (5.0, 7.5, 20.0, 1e-4, -5.0)] + [{"smile": 5.0, "long_hair": 1.0}]
    return scored(edits, own)


def test_an_edit_onto_the_carriers_is_natural_and_one_beyond_is_not(found):
    onto, beyond, out, nothing, away, several = (found.natural(i) for i in range(6))
    assert list(onto) == ["x"] and not away and not several
    assert onto["x"].natural.value == pytest.approx(1, abs=0.12) and abs(onto["x"].gap.value) < 0.1
    assert len(onto["x"].density) == found.rows(0).sum()
    assert beyond["x"].natural.high < 0.8 and beyond["x"].gap.low > 0
    assert out["x"].natural.value == 0 and out["x"].gap.low > 1
    assert nothing["x"].gap.value == pytest.approx(1, abs=1e-3)
    summary = found.summary(0, among="lacking")
    assert summary.ceiling.low < 0.5 < summary.ceiling.high and summary.target.value == pytest.approx(0.5, abs=0.01)
    assert summary.natural["x"]["natural"] == onto["x"].natural and not found.summary(0).natural


def test_the_same_figure_with_40_and_300_pictures(own):
    few, many = (scored([{"smile": 7.5}], own, n=n).natural(0)["x"] for n in (80, 600))
    assert 30 < len(few.density) < 50 and 270 < len(many.density) < 330
    assert few.natural.low < many.natural.value < few.natural.high and many.natural.high < 0.8
    assert many.natural.high - many.natural.low < few.natural.high - few.natural.low


def test_each_picture_is_decoded_once_and_features_are_of_lackers_alone(own):
    class Counting(Linear):
        decoded = 0

        def decode(self, codes, **rest):
            self.decoded += len(codes)
            return super().decode(codes, **rest)

    looked = []
    watched = type(own)(**{**vars(own), "networks": {"x": lambda images: looked.append(len(images)) or read(images)}})
    generator = Counting()
    r = rescore(generator, Reader(), bank, ["smile", "long_hair"], range(50), own=watched, n_boot=10, batch_size=9)
    assert generator.decoded == 2 + 3 * 50  # two to see that it decodes alike
    either = (r.rows(0) | r.rows(1)).sum()
    assert sum(looked) == either + r.rows(0).sum() + r.rows(1).sum()
    whole = rescore(Linear(), Reader(), bank, ["smile", "long_hair"], range(50), own=own, n_boot=10)
    assert np.allclose(whole.natural(1)["x"].density, r.natural(1)["x"].density)
    assert whole.natural(1)["x"].gap.value == pytest.approx(r.natural(1)["x"].gap.value, abs=1e-6)


def test_nothing_is_looked_at_in_vain_where_carriers_are_too_few():
    few = draw_own(Linear(), Reader(), ["smile"], range(4), networks={"x": read}, most=80)
    blind = type(few)(**{**vars(few), "networks": {"x": None}})  # it would not be called
    r = scored(["smile"], blind, n=30)
    assert r.natural(0)["x"].reference == 0 and "naturalness needs 60" in r.looks.notes[0]
    assert np.isnan(r.summary(0, among="lacking").natural["x"]["natural"].value) and r.ceiling(0).value > 0.3


def test_what_changes_elsewhere_is_the_linear_maps_answer(found):
    """A code's number is a row of the picture of four, at half scale: 5 σ of smile change its row by 0.25."""
    assert found.looks.changes.shape == (6, 250, 4, 4)
    assert found.elsewhere(0).mean.value == pytest.approx(0, abs=1e-6)
    where = np.zeros((4, 4), bool)
    where[2] = True
    assert found.elsewhere(0, region=where).mean.value == pytest.approx(0.25, abs=1e-6)
    assert found.summary(0).elsewhere.value == pytest.approx(0, abs=1e-6)
    both = found.looks.changes[5].mean((0, 2))
    assert both[0] == pytest.approx(0.05, abs=1e-6) and both[2] == pytest.approx(0.25, abs=1e-6)


def test_without_own_pictures_only_changes_are_kept():
    r = rescore(Linear(), Reader(), bank, ["smile"], range(40), n_boot=20)
    assert not r.natural(0) and np.isnan(r.ceiling(0).value) and r.elsewhere(0).mean.value >= 0


def test_a_file_keeps_them_and_files_of_before_are_read(found, tmp_path):
    found.save(tmp_path / "new.safetensors")
    again = Rescoring.load(tmp_path / "new.safetensors")
    assert again.summary(0, among="lacking") == found.summary(0, among="lacking")
    assert np.array_equal(again.natural(1)["x"].matched, found.natural(1)["x"].matched) and not again.natural(4)
    metadata = {
        "format": "latentedit.rescoring", "schema": "1", "targets": '["smile"]', "labels": '["smile"]',
        "tags": '["smile", "hat"]', "n_boot": "20", "provenance": "{}",
    }  # fmt: skip
    scores = np.random.default_rng(0).random((2, 30, 2), np.float32)
    arrays = {"before": scores[0], "after": scores[1:], "thresholds": np.full(2, 0.5)}
    write_safetensors(tmp_path / "old.safetensors", arrays, metadata)
    old = Rescoring.load(tmp_path / "old.safetensors")
    assert old.looks is None and not old.natural(0) and np.isnan(old.summary(0).elsewhere.value)
    with pytest.raises(LatentEditError, match="scores alone"):
        old.elsewhere(0)
    damaged = {**arrays, "looks.about": np.frombuffer(b"{}", np.uint8)}
    names = {**metadata, "schema": "2", "arrays": '["before", "after", "thresholds", "looks.about"]'}
    write_safetensors(tmp_path / "damaged.safetensors", damaged, names)
    with pytest.raises(DamagedFileError, match="damaged re-scoring"):
        Rescoring.load(tmp_path / "damaged.safetensors")


def test_faces_that_share_contents_are_resampled_together(tmp_path):
    from PIL import Image

    for i in range(5):
        Image.new("RGB", (16, 16), (50 * i, 30, 255 - 50 * i)).save(tmp_path / f"{i}.png")
    generator = ToyTranslator()
    vector = torch.zeros(16)
    vector[0] = 1
    moves = DirectionBank(
        [Direction(tag="smile", vector=vector, sigma=1.0, generator_id=generator.id, layers=generator.layers)]
    )
    faces = Faces(range(40), content=tmp_path)
    r = rescore(generator, ToyTagger(), moves, ["smile"], faces, n_boot=50)
    assert r.groups.tolist() == [i % 5 for i in range(40)]
    alone = Rescoring.of_scores(
        r.before, r.after, targets=r.targets, labels=r.labels, tags=r.tags, thresholds=r.thresholds, n_boot=50
    )
    assert np.array_equal(alone.mean, r.mean) and not np.array_equal(alone.low, r.low)
    assert r.elsewhere(0).groups is not None
    assert rescore(generator, ToyTagger(), moves, ["smile"], Faces(range(4), content=tmp_path), n_boot=5).groups is None


def test_mistakes(own):
    with pytest.raises(MismatchError, match="of the judge reader:1, not toytags"):
        rescore(Linear(), ToyTagger(), bank, ["smile"], range(3), own=own)
    with pytest.raises(MismatchError, match="of the generator linear:1, not toy"):
        rescore(ToyTranslator(), Reader(), bank, ["smile"], range(3), own=own)
    unsigned = type(own)(**{**vars(own), "provenance": {}})
    with pytest.raises(MismatchError, match="other tags"):
        rescore(Linear(), ToyTagger(), bank, ["smile"], range(3), own=unsigned)
    lost = type(own)(**{**vars(own), "networks": {}})
    with pytest.raises(LatentEditError, match="lost their networks"):
        scored(["smile"], lost, n=3)
    scores = np.zeros((1, 3, 4))
    common = {"targets": ["smile"], "labels": ["smile"], "tags": TAGS, "thresholds": np.full(4, 0.5)}
    with pytest.raises(LatentEditError, match="groups have shape"):
        Rescoring.of_scores(scores[0], scores, **common, groups=np.zeros(2))
