"""Lines settled on a prior."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy_prior import codes, generator, prior

import latentedit as le
from latentedit import Edit
from latentedit.errors import LatentEditError, MismatchError


def line(tag: str, seed: int, generator_id: str = generator.id) -> le.Direction:
    v = torch.randn(16, generator=torch.Generator().manual_seed(seed))
    return le.Direction(tag, v / v.norm(), 1.5, generator_id, layers=generator.layers)


bank = le.DirectionBank([line("long_hair", 0), line("short_hair", 1), line("wings", 2)])


def test_it_knows_the_tags_of_the_lines_and_its_ends_are_the_line_and_the_code() -> None:
    x = codes()
    assert le.Settled(bank, prior()).tags == bank.tags
    straight = bank.edit(x, "wings")
    assert torch.allclose(le.Settled(bank, prior(), time=1.0).edit(x, "wings"), straight, atol=1e-4)
    assert torch.allclose(le.Settled(bank, prior(), time=0.0).edit(x, "wings"), x, atol=1e-4)
    between = le.Settled(bank, prior()).edit(x, "wings")
    assert (between - x).norm() > 0.05 * (straight - x).norm() and not torch.allclose(between, straight, atol=0.05)


def test_no_strength_is_the_code_bit_for_bit_and_slots_that_do_not_move_stay() -> None:
    x, settled = codes(), le.Settled(bank, prior())
    assert torch.equal(settled.edit(x, Edit("wings", 0)), x)
    some = settled.edit(x, Edit("wings", layers="1"))
    assert some.shape == (len(x), 2, 16) and torch.equal(some[:, 0], x) and not torch.equal(some[:, 1], x)
    assert torch.allclose(some[:, 1], settled.edit(x, "wings"), atol=1e-4)


def test_bad_input_is_told_in_a_line() -> None:
    with pytest.raises(MismatchError, match="do not belong together"):
        le.Settled(le.DirectionBank([line("wings", 0, "another")]), prior())
    with pytest.raises(MismatchError, match="do not belong together"):
        le.Settled(bank, replace(prior(), dim=8))
    for time in (-0.1, 1.1):
        with pytest.raises(LatentEditError, match=r"\[0, 1\]"):
            le.Settled(bank, prior(), time=time)
    settled = le.Settled(bank, prior())
    with pytest.raises(LatentEditError, match="NaN"):
        settled.edit(codes(2) * torch.nan, "wings")
    with pytest.raises(LatentEditError, match="only a prior takes a goal"):
        settled.edit(codes(2), Edit("wings", goal=0.5))
    with pytest.raises(MismatchError):
        settled.check_generator(type(generator)(seed=50))


def test_priors_and_settled_lines_show_themselves() -> None:
    settled = le.Settled(bank, prior())
    for thing in (prior(), settled):
        assert repr(thing).startswith(f"{type(thing).__name__}(") and len(repr(thing)) < 400
        assert prior().generator_id in thing._repr_html_() and "<table" in thing._repr_html_()
    assert "wings" in settled._repr_html_() and settled.usual_strengths == {}
