"""Axioms of editors whose every answer is known: those that keep them, and for each axiom one that breaks it."""

import json
import math

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
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.files import jsonable
from latentedit.metrics import check_axioms
from latentedit.metrics.axioms import divergence
from latentedit.metrics.intervals import mean_interval

PLACES = {tag: i for i, tag in enumerate(TAGS)}


class Mover:
    """Moves a tag's own entry of a code by 0.1 a strength, and takes goals: it writes them into the entry."""

    tags = TAGS

    def edit(self, codes, edits):
        moved = codes.clone()
        for one in Edit(edits).parts:
            i = PLACES[one.tag]
            if one.goal is not None:
                moved[:, i] = one.goal
            else:
                moved[:, i] += 0.1 * (3 if one.strength is None else one.strength)
        return moved


class Breaker(Mover):
    """The same, with one axiom broken."""

    def __init__(self, broken):
        self.broken = broken

    def edit(self, codes, edits):
        moved = super().edit(codes, edits)
        (one,) = Edit(edits).parts
        strength = one.strength if one.goal is None else 3
        if self.broken == "jump" and strength:
            moved[:, 3] += 0.3
        elif self.broken == "drift":
            moved[:, 3] += 0.01
        elif self.broken == "inexact":
            moved[:, 3] = (codes[:, 3].double() * 1.0000003).float()
        elif self.broken == "one way" and one.goal is not None:
            moved[:, 3] -= 0.2
        elif self.broken == "one at a time":
            others = [i for tag, i in PLACES.items() if tag != one.tag]
            moved[:, others] = 0.1
        return moved


def check(editor, edits="smile", n=40, **options):
    return check_axioms(Linear(), Reader(), editor, edits, range(n), **{"n_boot": 50, "row": []} | options)


def codes(n=40):
    return Linear().sample_codes(range(n)).numpy()


def test_lines_keep_every_axiom_but_need_the_opposite_sign():
    a = check(bank, ["smile", "long_hair"], row=["long_hair", "smile"])
    assert a.exact.all() and a.identical.all() and a.back_by == ("opposite sign",) * 2
    assert (a.drift_codes == 0).all() and (a.drift_scores == 0).all()
    assert a.jump == pytest.approx([0.0001, 0.0001], rel=0.01)  # 0.1 a strength
    assert a.back.value == pytest.approx([0, 0], abs=1e-6)
    x = codes()
    assert a.lackers.tolist() == [(x[:, 2] < 0.5).sum(), (x[:, 0] < 0.5).sum()]
    assert (a.lackers + a.carriers == 40).all()
    ends = [(x[:, i] + 0.3).clip(0, 1)[x[:, i] < 0.5].mean() for i in (0, 2)]
    assert a.row_scores.value == pytest.approx(ends, abs=1e-4)
    assert (a.row_scores.low < ends).all() and (a.row_scores.high > ends).all()
    assert a.row == ("long_hair", "smile") and a.row_pictures.tolist() == a.lackers[::-1].tolist()


def test_back_is_a_goal_for_editors_that_take_them():
    a = check(Mover())
    assert a.back_by == ("goal",) and a.identical.all()
    rounding = np.abs(codes()[:, 2] - codes()[:, 2].round(2)).mean() / 4  # first scores are asked for to 0.01
    assert a.back.value[0] == pytest.approx(rounding, rel=1e-3) and 0 < rounding < 0.001
    both = check(Mover(), [["smile", "hat"]])
    assert both.back_by == ("goal",) and both.back.value[0] < 0.002 and both.targets == ("",)
    assert np.isnan(both.cld.value[0]) and both.lackers.tolist() == [0]


def test_a_jump_is_seen_though_strength_0_is_exact():
    a = check(Breaker("jump"))
    assert a.exact.all() and a.jump[0] == pytest.approx(0.3, abs=1e-3) and not a.identical.any()
    assert a.drift_codes[0] == 0


def test_a_null_edit_that_drifts_is_seen_ten_times():
    a = check(Breaker("drift"))
    assert not a.exact.any() and a.drift_codes[0] == pytest.approx(0.1, abs=1e-5)
    assert a.drift_scores[0] == pytest.approx(0.1, abs=1e-3)


def test_a_rounding_is_not_bit_for_bit():
    a = check(Breaker("inexact"))
    assert not a.exact.any() and not a.identical.any() and a.jump[0] < 0.001 and 0 < a.drift_codes[0] < 1e-5


def test_there_and_not_back():
    x = codes()
    a = check(Breaker("one way"))
    lost = np.abs((x[:, 3] - 0.2).clip(0, 1) - x[:, 3])
    assert a.back.value[0] == pytest.approx(lost.mean() / 4, abs=0.001)
    assert a.back.low[0] < a.back.value[0] < a.back.high[0]


def test_edits_in_a_row_that_undo_each_other():
    steps = [{"smile": 9.0}, {"hat": 9.0}]
    kept, lost = (check(editor, row=steps).row_scores.value for editor in (Mover(), Breaker("one at a time")))
    assert kept == pytest.approx([1, 1], abs=0.11)
    assert lost[0] == pytest.approx(0.1, abs=1e-4) and lost[1] == pytest.approx(kept[1], abs=0.2)
    known = check(Mover(), row=None)
    assert known.row == ("long_hair",)  # the one of the usual five that is known here
    assert check(Mover()).row == () and check(Mover()).row_scores.value.shape == (0,)


# ---- minimality


def test_divergence_by_hand():
    """Two lackers at 0 and 1, carriers at 3 and 5, on a line."""
    places = np.array([0.0, 1.0, 3.0, 5.0])
    between = np.abs(places[:, None] - places)
    has = np.array([False, False, True, True])
    found = divergence(between, np.array([0.5, 2.0, 0, 0]), has)
    assert found[0].tolist() == [0, 1, math.log(0.8 + 0.2 * math.e)]  # nearer than any carrier, and than the lacker
    assert found[1].tolist() == [0.5, 0, math.log(0.8 * math.exp(0.5) + 0.2)]  # as far as the first carrier
    assert divergence(between, np.array([9.0, 9, 0, 0]), has)[0, 2] == pytest.approx(math.log(0.8 * math.e + 0.2))
    assert np.isnan(divergence(between, np.ones(4), np.zeros(4, bool))).all()
    assert np.isnan(divergence(between, np.ones(4), np.array([False, True, True, True]))).all()


def test_a_longer_way_to_the_same_tag_is_less_minimal():
    short, long = check(Mover(), {"smile": 5.0}), check(Mover(), {"smile": 12.0})
    far = check(Breaker("jump"), {"smile": 5.0})
    assert short.nearer.value[0] < 0.05 < far.nearer.value[0] < long.nearer.value[0]
    assert max(short.cld.value[0], far.cld.value[0]) < long.cld.value[0] <= 1
    assert short.distance == "pixels"
    x, has = codes(), codes()[:, 2] >= 0.5
    between = np.abs(x[:, None] - x).mean(2) / 2  # pictures are half of the code
    edited = x + np.array([0, 0, 0.5, 0])
    by_hand = divergence(between, np.abs(edited.clip(-2, 2) - x).mean(1) / 2, has)[~has].mean(0)
    assert [short.nearer.value[0], short.farther.value[0], short.cld.value[0]] == pytest.approx(by_hand, abs=0.01)


def test_features_may_be_those_of_a_network():
    g = ToyGenerator()
    vector = torch.zeros(16)
    vector[3] = 1
    line = DirectionBank([Direction(tag="smile", vector=vector, sigma=1.0, generator_id=g.id, layers=("a", "b"))])
    edits = [Edit("smile", 1), Edit("smile", 1, layers="0"), Edit("smile", 40)]
    a = check_axioms(g, ToyTagger(), line, edits, range(30), features=Pool(), n_boot=20, batch_size=7)
    assert a.distance == "pool:1" and a.exact.all() and a.back.value == pytest.approx([0, 0, 0], abs=1e-5)
    assert 0 < a.lackers[0] < 30 and a.nearer.value[0] < 0.1 < 0.5 < a.nearer.value[2]
    again = check_axioms(g, ToyTagger(), line, edits[:1], range(30), features=Pool(), n_boot=20)
    assert again.cld.value[0] == pytest.approx(a.cld.value[0], abs=1e-5)  # whatever the batches
    assert a.row == ()


# ---- the rest


def test_faces_of_one_content_are_resampled_together(tmp_path):
    for i, grey in enumerate((40, 120, 250)):
        Image.new("RGB", (16, 16), (grey,) * 3).save(tmp_path / f"{i}.png")
    g = ToyTranslator()
    vector = torch.ones(16) / 4
    line = DirectionBank([Direction(tag="smile", vector=vector, sigma=1.0, generator_id=g.id, layers=("a", "b"))])
    judge, faces = ToyTagger(), Faces(range(30), content=tmp_path)
    a = check_axioms(g, judge, line, "smile", faces, row=["smile"], n_boot=100)
    prepared = faces.prepare(g)
    scores = [
        judge.score(prepared.pictures(codes))[:, 5].numpy()
        for codes in (None, line.edit(prepared.all_codes(), "smile"))
    ]
    lacking, groups = scores[0] < 0.5, np.arange(30) % 3
    by_content = mean_interval(scores[1][lacking], n_boot=100, groups=groups[lacking])
    alone = mean_interval(scores[1][lacking], n_boot=100)
    found = [a.row_scores.value[0], a.row_scores.low[0], a.row_scores.high[0]]
    assert found == pytest.approx([float(x) for x in by_content], abs=1e-4)
    assert found[1] != pytest.approx(float(alone[1]), abs=1e-4)


def test_progress_ends_at_its_total_and_all_of_it_is_json():
    steps = []
    a = check(Mover(), ["smile", "hat"], n=10, batch_size=4, row=None, progress=lambda *one: steps.append(one))
    assert steps == [(40, 100), (80, 100), (100, 100)]
    told = json.loads(json.dumps(jsonable(a.numbers()), allow_nan=False))
    assert told["identical"] == [True, True] and told["back_by"] == ["goal", "goal"]
    assert set(told["cld"]) == {"value", "low", "high"} and told["pictures"] == 10


def test_what_is_refused():
    with pytest.raises(LatentEditError, match="smile>0.9 has a goal; axioms are about strengths"):
        check(Mover(), Edit("smile", goal=0.9))
    with pytest.raises(UnknownNameError, match="unknown tag of the judge 'wings'"):
        check(Mover(), row=["wings"])
    with pytest.raises(UnknownNameError, match="unknown tag 'wings'"):
        check(bank, "wings")
    with pytest.raises(LatentEditError, match="n_boot is 0"):
        check(Mover(), n_boot=0)
