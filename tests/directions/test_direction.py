"""Directions as values."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from explicit import explicit
from hypothesis import given, settings
from hypothesis import strategies as st
from made_directions import D, codes, direction

from latentedit.directions.bank import DirectionBank
from latentedit.errors import LatentEditError, MismatchError

# ---- values


@settings(max_examples=50, deadline=None)
@given(r=st.floats(-3, 3).filter(bool), seeds=st.tuples(st.integers(0, 50), st.integers(51, 99)))
def test_negation_distributes_exactly(r: float, seeds: tuple[int, int]) -> None:
    a, b = direction("a", seeds[0]), direction("b", seeds[1], 1.3)
    assert -(a - r * b) == -a + r * b
    assert a + b == b + a
    negative = -a
    assert -negative == a
    assert hash(-(a - r * b)) == hash(-a + r * b)


def test_equality_has_teeth() -> None:
    a, b = direction("a"), direction("b", 1)
    assert a != b and a != replace(a, sigma=0.8) and a != replace(a, tag="c") and a != replace(a, generator_id="toy:2")
    assert a - 0.5 * b != a - 0.4 * b and -a != a and a != "a"


def test_a_combination_moves_codes_as_its_parts_do() -> None:
    a, b = direction("a"), direction("b", 1, 1.3)
    combined = a - b / 3
    torch.testing.assert_close(combined.step, a.step - b.step / 3, rtol=1e-6, atol=1e-7)
    assert abs(float(combined.vector.norm()) - 1) < 1e-6
    assert combined.tag == "a - 0.3333*b" and (b - 2 * a).tag == "- 2*a + b"
    apart = DirectionBank([a, b]).edit(codes(), {"a": 2.0, "b": -2 / 3})
    together = DirectionBank([combined]).edit(codes(), {combined.tag: 2.0})
    torch.testing.assert_close(together, apart, rtol=1e-6, atol=1e-6)
    assert (2 * a).sigma == 2 * a.sigma and (2 * a).coefficient_norm == 4.0
    assert combined.coefficient_norm is None
    with pytest.raises(LatentEditError, match="without coefficients"):
        DirectionBank([combined]).edit(codes(), explicit({combined.tag: 1.0}, unit="raw"))


def test_nothing_is_left_of_a_minus_a() -> None:
    a = direction("a")
    with pytest.raises(LatentEditError, match="cancel out"):
        a - a
    with pytest.raises(LatentEditError, match="finite"):
        a * float("nan")
    with pytest.raises(LatentEditError, match="'a' times 0.0: give a finite number other than 0"):
        0 * a
    with pytest.raises(TypeError):
        a + 1  # type: ignore[operator]


@pytest.mark.parametrize(
    "change", [{"generator_id": "toy:2"}, {"space": "z"}, {"layers": ("a", "c")}, {"shape": (2, D)}]
)
def test_generators_spaces_and_shapes_do_not_mix(change: dict[str, object]) -> None:
    a, b = direction("a"), direction("b", 1, **change)
    for combine in (lambda: a + b, lambda: a - b, lambda: DirectionBank([a, b])):
        with pytest.raises(MismatchError):
            combine()


@pytest.mark.parametrize("vector", [torch.zeros(D), torch.ones(D), torch.full((D,), torch.nan), torch.ones(1, 1, 1)])
def test_vectors_without_unit_norm_are_refused(vector: torch.Tensor) -> None:
    with pytest.raises(LatentEditError, match="norm"):
        replace(direction(), vector=vector)


def test_bad_sigma_params_and_slots_are_refused() -> None:
    for bad in ({"sigma": float("nan")}, {"sigma": -1.0}, {"sigma": 0.0}, {"params": {"x": object()}}):
        with pytest.raises(LatentEditError):
            replace(direction(), **bad)
    with pytest.raises(LatentEditError, match="slots"):
        direction(shape=(3, D))


def test_a_direction_shares_no_memory_with_what_it_was_made_of() -> None:
    vector, params = direction().vector.clone(), {"k": [1]}
    made = replace(direction(), vector=vector, params=params)
    before = made.vector.clone()
    vector.zero_()
    params["k"].append(2)
    assert torch.equal(made.vector, before) and made.params == {"k": [1]}
    (-made).vector.zero_()
    assert torch.equal(made.vector, before)
