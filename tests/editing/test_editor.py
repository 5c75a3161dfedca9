import pytest
import torch
from toy import ToyGenerator

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.pairs import TagPair
from latentedit.editing.editor import DEFAULT_STRENGTH, edit, parse_opposite, strengths_of
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
    assert strengths_of(bank, "long_hair") == {"long_hair": DEFAULT_STRENGTH, "short_hair": -DEFAULT_STRENGTH / 3}
    expected = codes + step("long_hair", 3) + step("short_hair", -1)
    assert torch.allclose(edit(codes, bank, "long_hair", strength=3), expected, atol=1e-6)
    alone = codes + step("long_hair", 3)
    assert torch.allclose(edit(codes, bank, "long_hair", strength=3, opposite=None), alone, atol=1e-6)


def test_groups_give_no_opposite_but_the_user_may():
    assert strengths_of(bank, "red_hair", strength=3) == {"red_hair": 3}
    assert strengths_of(bank, "red_hair", strength=3, opposite="black_hair") == {"red_hair": 3, "black_hair": -1}
    assert strengths_of(bank, "red_hair", strength=2, opposite="black_hair:0.5") == {"red_hair": 2, "black_hair": -1}
    assert strengths_of(bank, TagPair("red_hair", "black_hair", -0.5), strength=2) == {"red_hair": 2, "black_hair": -1}


def test_negative_strength_reverses_both_terms():
    forth = edit(codes, bank, "long_hair", strength=2) - codes
    back = edit(codes, bank, "long_hair", strength=-2) - codes
    assert torch.allclose(forth, -back, atol=1e-6)


def test_explicit_strengths_get_nothing_added():
    assert strengths_of(bank, {"long_hair": 2.0}) == {"long_hair": 2.0}
    assert torch.equal(edit(codes, bank, {"long_hair": 2.0}), bank.edit(codes, {"long_hair": 2.0}))


def test_several_edits_add_up():
    both = edit(codes, bank, ["long_hair", "red_hair"], strength=1)
    one_by_one = edit(edit(codes, bank, "long_hair", strength=1), bank, "red_hair", strength=1)
    assert torch.allclose(both, one_by_one, atol=1e-6)


def test_the_input_is_left_alone_and_there_and_back_is_the_identity():
    before = codes.clone()
    there = edit(codes, bank, "long_hair", strength=2.5)
    assert torch.equal(codes, before) and not torch.allclose(there, codes, atol=0.1)
    assert torch.allclose(edit(there, bank, "long_hair", strength=-2.5), codes, atol=1e-5)


def test_layers_and_units():
    slots = edit(codes, bank, "red_hair", strength=1, layers="1")
    assert slots.shape == (5, 2, 16)
    assert torch.equal(slots[:, 0], codes)
    assert torch.allclose(slots[:, 1], codes + step("red_hair", 1), atol=1e-6)
    raw = edit(codes, bank, "red_hair", strength=4, unit="raw")
    assert torch.allclose(raw, codes + 4 * 0.5 * bank["red_hair"].vector, atol=1e-6)


def test_bad_input_is_told_in_a_line():
    with pytest.raises(UnknownNameError, match="did you mean long_hair"):
        edit(codes, bank, "lnog_hair")
    with pytest.raises(LatentEditError, match="own opposite"):
        edit(codes, bank, "red_hair", opposite="red_hair")
    with pytest.raises(LatentEditError, match="TAG:ratio"):
        parse_opposite("short_hair:much")
    with pytest.raises(LatentEditError, match="NaN"):
        edit(torch.full((1, 16), float("nan")), bank, "red_hair")
    with pytest.raises(LatentEditError, match="unit"):
        edit(codes, bank, "red_hair", unit="metre")
