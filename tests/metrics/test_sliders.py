"""Slider quality where it is known: sliders that follow, lag, run ahead, turn back, and stand still until they jump."""

import numpy as np
import pytest
import torch
from linear_world import TAGS, Linear, Reader, bank
from PIL import Image
from toy import ToyGenerator, ToyTagger, ToyTranslator
from toy_features import Pool

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.edits import Edit
from latentedit.editing.faces import Faces
from latentedit.errors import LatentEditError
from latentedit.metrics import Curves, strength_curves
from latentedit.metrics.intervals import mean_interval
from latentedit.metrics.sliders import slider_numbers, slider_table, whole_strength

X = np.array([-3.0, 0.0, 1.0, 2.0, 3.0, 6.0])


def numbers(scores, strengths=X, **options):
    return slider_numbers(slider_table(np.asarray(scores, float), np.asarray(strengths), **options).mean(0))


class Curved:
    """Moves the smile as a function of strength says; the function of 0 is 0."""

    tags = TAGS

    def __init__(self, function):
        self.function = function

    def edit(self, codes, edits):
        moved = codes.clone()
        (one,) = Edit(edits).parts
        moved[:, 2] += self.function(one.strength)
        return moved


def curves_of(function, strengths=(1, 2, 3), n=40, **options):
    edits = Edit("smile", opposite=None)
    return strength_curves(Linear(), Reader(), Curved(function), edits, range(n), strengths, n_boot=50, **options)


# ---- gain


def test_a_slider_that_does_what_is_asked_has_a_gain_of_one():
    """From any first score, 3 is the tag and -3 its absence, in proportion between, and no more beyond."""
    first = np.array([[0.1], [0.5], [0.9]])
    asked = np.where(X > 0, first + (1 - first) * np.minimum(X / 3, 1), first + first * X / 3)
    assert numbers(asked)[0] == pytest.approx(1)
    assert numbers(first + (asked - first) / 2)[0] == pytest.approx(0.5)
    assert numbers(np.where(X > 0, 1.0, np.where(X < 0, 0.0, first)))[0] > 1.2  # all of it at strength 1
    assert numbers(first - (asked - first))[0] == pytest.approx(-1)
    assert numbers(first + 0 * X)[0] == 0


def test_gain_of_a_line_is_that_of_its_sums():
    c = curves_of(lambda s: 0.1 * s)
    x = Linear().sample_codes(range(40)).numpy()[:, 2]
    achieved = sum(np.minimum(x + 0.1 * s, 1).mean() - x.mean() for s in (1, 2, 3))
    asked = (1 - x).mean() * (1 / 3 + 2 / 3 + 1)
    assert c.gain.value[0] == pytest.approx(achieved / asked, rel=1e-3)
    assert c.gain.low[0] < c.gain.value[0] < c.gain.high[0]
    again = curves_of(lambda s: 0.1 * s, strengths=(3, 0, 1, 2))
    assert again.gain.value[0] == pytest.approx(c.gain.value[0], abs=1e-6)


def test_strengths_of_an_edit_s_own_are_multiplied_and_so_is_what_they_ask_for():
    edits = [Edit("smile", opposite=None), Edit("smile", 1.5, opposite=None)]
    a = strength_curves(Linear(), Reader(), bank, edits[:1], range(40), [1.5, 3.0], n_boot=10)
    b = strength_curves(Linear(), Reader(), bank, edits[1:], range(40), [1.0, 2.0], n_boot=10)
    assert b.gain.value == pytest.approx(a.gain.value, abs=1e-6)
    assert [whole_strength(one) for one in edits] == [3.0, 2.0]
    assert whole_strength(Edit("smile", 7, unit="raw")) == 1.0 and whole_strength(Edit("smile", -3)) == 1.0


# ---- monotone


def test_steps_back_are_counted_picture_by_picture():
    forwards, back, hardly = [0, 0, 0.2, 0.4, 0.6, 0.6], [0, 0, 0.4, 0.2, 0.6, 0.5], [0, 0, 0.4, 0.395, 0.6, 0.6]
    assert numbers([forwards])[1] == 1 and numbers([hardly])[1] == 1
    assert numbers([back])[1] == pytest.approx(3 / 5)
    assert numbers([forwards, back])[1] == pytest.approx(4 / 5)  # the mean rises at every step but one
    assert curves_of(lambda s: 0.1 * s).monotone.value[0] == 1
    c = curves_of(lambda s: 0.1 * (s % 2), strengths=(1, 2, 3, 4))
    x = Linear().sample_codes(range(40)).numpy()[:, 2]
    assert c.monotone.value[0] == pytest.approx(np.where(x < 1 - 0.01, 0.5, 1).mean(), abs=0.03)


# ---- even steps


def test_steps_are_even_for_as_much_strength():
    scores, x = np.zeros((2, 4)), np.array([0.0, 1.0, 2.0, 4.0])
    even = np.array([[1.0, 1.0, 2.0], [3.0, 3.0, 6.0]])
    assert numbers(scores, x, steps=even)[2] == pytest.approx(0)
    jump = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 6.0]])
    assert numbers(scores, x, steps=jump)[2] == pytest.approx(2**0.5)  # of 0, 0, 1
    assert np.isnan(numbers(scores, x)[2]) and np.isnan(numbers(scores, x, steps=0 * even)[2])


@pytest.mark.parametrize("features", [None, Pool()])
def test_pictures_of_a_line_move_evenly_and_those_of_a_jump_do_not(features):
    even = curves_of(lambda s: 0.02 * s, strengths=(-2, 1, 4, 2), features=features, batch_size=7)
    assert even.unevenness.value[0] == pytest.approx(0, abs=1e-4)
    jump = curves_of(lambda s: 0.3 * (s > 2), features=features)
    assert jump.unevenness.value[0] == pytest.approx(2**0.5, rel=1e-3)
    assert jump.step_distance == ("pixels" if features is None else "pool:1")
    zero = curves_of(lambda s: 0.3 * (s > 2), strengths=(3, 0, 2, 1), features=features)
    assert zero.unevenness.value[0] == pytest.approx(jump.unevenness.value[0], abs=1e-6)


def test_only_the_pictures_that_lack_the_tag_count_when_asked():
    """Those that carry the smile stand still until they jump, the others move evenly."""

    class Two(Curved):
        def edit(self, codes, edits):
            even = super().edit(codes, edits)
            (one,) = Edit(edits).parts
            jumped = codes.clone()
            jumped[:, 3] += 0.3 * (one.strength > 2)
            return torch.where(codes[:, 2:3] < 0.5, even, jumped)

    editor = Two(lambda s: 0.05 * s)
    options = {"batch_size": 9, "n_boot": 10}
    edits = Edit("smile", opposite=None)
    everyone, lackers = (
        strength_curves(Linear(), Reader(), editor, edits, range(40), [1, 2, 3], among=among, **options)
        for among in ("all", "lacking")
    )
    assert lackers.unevenness.value[0] == pytest.approx(0, abs=1e-4) and everyone.unevenness.value[0] > 0.3


# ---- intervals


def test_intervals_are_by_content(tmp_path):
    for i, grey in enumerate((0, 120, 250)):
        Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / f"{i}.png")
    g, judge, vector = ToyTranslator(), ToyTagger(), torch.ones(16) / 4
    line = DirectionBank([Direction(tag="smile", vector=vector, sigma=1.0, generator_id=g.id, layers=("a", "b"))])
    faces = Faces(range(30), content=tmp_path)
    c = strength_curves(g, judge, line, "smile", faces, [1.0], n_boot=100)
    prepared = faces.prepare(g)
    scores = [
        judge.score(prepared.pictures(one))[:, 5].numpy()
        for one in (None, line.edit(prepared.all_codes(), Edit("smile", 1.0)))
    ]
    change = scores[1].astype(float) - scores[0]
    wanted = mean_interval(change, n_boot=100, groups=np.arange(30) % 3)
    found = [c.target.value[0, 0], c.target.low[0, 0], c.target.high[0, 0]]
    assert found == pytest.approx([float(end) for end in wanted], abs=1e-5)
    assert abs(found[1] - float(mean_interval(change, n_boot=100)[1])) > 1e-4
    assert c.share.low[0, 0] <= c.share.value[0, 0] <= c.share.high[0, 0]
    every = [
        judge.score(prepared.pictures(one)).numpy() for one in (None, line.edit(prepared.all_codes(), {"smile": 1.0}))
    ]
    given = {"targets": ["smile"], "labels": ["smile"], "tags": judge.tags, "thresholds": np.full(6, 0.5)}
    groups = np.arange(30) % 3
    again = Curves.of_scores(every[0], every[1][None, None], strengths=[1.0], groups=groups, n_boot=100, **given)
    assert again.target.low == pytest.approx(c.target.low, abs=1e-5)
    assert again.gain.low == pytest.approx(c.gain.low, abs=1e-4) and again.share.low == pytest.approx(c.share.low)
    assert np.isnan(again.unevenness.value[0]) and again.step_distance == ""
    with pytest.raises(LatentEditError, match="give one for each"):
        Curves.of_scores(every[0], every[1][None, None], strengths=[1.0], groups=groups[1:], **given)


def test_nobody_to_measure_is_not_known():
    g, judge = ToyGenerator(), ToyTagger(tags=("long_hair",))
    vector = torch.ones(16) / 4
    line = DirectionBank([Direction(tag="smile", vector=vector, sigma=1.0, generator_id=g.id, layers=("a", "b"))])
    c = strength_curves(g, judge, line, "smile", range(5), [1.0, 2.0], n_boot=10)
    assert np.isnan(c.gain.value[0]) and np.isnan(c.monotone.value[0]) and c.unevenness.value[0] >= 0
    none = strength_curves(g, judge, line, "smile", range(5), [1.0, 2.0], among="lacking", n_boot=10)
    assert np.isnan(none.unevenness.value[0])
