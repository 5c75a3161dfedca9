"""Codes, an editor and edits."""

import pytest
import torch
from explicit import explicit
from toy import ToyGenerator

from latentedit import Direction, DirectionBank, Edit, TagPair, edit
from latentedit.editing.editor import Editor
from latentedit.errors import LatentEditError, UnknownNameError

generator = ToyGenerator()


def direction(tag, seed, sigma=2.0):
    vector = torch.randn(generator.dim, generator=torch.Generator().manual_seed(seed))
    return Direction(
        tag=tag, vector=vector / vector.norm(), sigma=sigma, generator_id=generator.id, layers=generator.layers,
        coefficient_norm=0.5,
    )  # fmt: skip


bank = DirectionBank([direction(t, i) for i, t in enumerate(["long_hair", "short_hair", "red_hair", "black_hair"])])
codes = generator.sample_codes(range(5))


def step(tag, strength):
    return strength * bank[tag].sigma * bank[tag].vector


def test_a_tag_brings_its_opposite_at_the_pairs_ratio():
    expected = codes + step("long_hair", 3) + step("short_hair", -1)
    assert torch.allclose(edit(codes, bank, "long_hair"), expected, atol=1e-6)
    alone = codes + step("long_hair", 3)
    assert torch.allclose(edit(codes, bank, Edit("long_hair", 3, opposite=None)), alone, atol=1e-6)


def test_a_pair_has_its_own_ratio():
    expected = codes + step("red_hair", 3) + step("black_hair", -1.5)
    assert torch.allclose(edit(codes, bank, TagPair("red_hair", "black_hair", -0.5)), expected, atol=1e-6)


def test_negative_strength_reverses_both_terms():
    forth = edit(codes, bank, Edit("long_hair", 2)) - codes
    back = edit(codes, bank, -Edit("long_hair", 2)) - codes
    assert torch.allclose(forth, -back, atol=1e-6)


def test_explicit_strengths_get_nothing_added():
    assert torch.allclose(edit(codes, bank, {"long_hair": 2.0}), codes + step("long_hair", 2), atol=1e-6)


def test_several_edits_add_up_in_any_order():
    both = edit(codes, bank, [Edit("long_hair", 1), "red_hair"])
    one_by_one = edit(edit(codes, bank, Edit("long_hair", 1)), bank, "red_hair")
    assert torch.allclose(both, one_by_one, atol=1e-6)
    assert torch.allclose(both, edit(codes, bank, ["red_hair", Edit("long_hair", 1)]), atol=1e-6)


def test_the_input_is_left_alone_and_there_and_back_is_the_identity():
    before = codes.clone()
    there = edit(codes, bank, Edit("long_hair", 2.5))
    assert torch.equal(codes, before) and not torch.allclose(there, codes, atol=0.1)
    assert torch.allclose(edit(there, bank, Edit("long_hair", -2.5)), codes, atol=1e-5)


def test_layers_and_units():
    slots = edit(codes, bank, Edit("red_hair", 1, layers="1"))
    assert slots.shape == (5, 2, 16)
    assert torch.equal(slots[:, 0], codes)
    assert torch.allclose(slots[:, 1], codes + step("red_hair", 1), atol=1e-6)
    raw = edit(codes, bank, explicit({"red_hair": 4}, unit="raw"))
    assert torch.allclose(raw, codes + 4 * 0.5 * bank["red_hair"].vector, atol=1e-6)


def test_an_editor_is_anything_with_two_names():
    class Nudge:
        tags = ("smile",)

        def edit(self, codes, edits):
            return codes + sum(one.strength for one in Edit(edits).at(1).parts)

    assert isinstance(Nudge(), Editor) and isinstance(bank, Editor)
    assert torch.allclose(edit(codes, Nudge(), ["smile", {"smile": 2}]), codes + 3)


def test_bad_input_is_told_in_a_line():
    with pytest.raises(UnknownNameError, match="did you mean long_hair"):
        edit(codes, bank, "lnog_hair")
    with pytest.raises(LatentEditError, match="NaN"):
        edit(torch.full((1, 16), float("nan")), bank, "red_hair")
    with pytest.raises(LatentEditError, match="write a tag, {tag: strength}, an Edit, or a list"):
        edit(codes, bank, 3)
    for one in (Edit("red_hair", goal=0.9), Edit("red_hair", keep="long_hair")):
        with pytest.raises(LatentEditError, match="only a prior"):
            edit(codes, bank, one)
