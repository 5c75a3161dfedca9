"""Gaussian transport: known Gaussians, and the toy world."""

from __future__ import annotations

import pytest
import torch
from toy_prior import codes, generator, samples, scores

import latentedit as le
from latentedit import Edit
from latentedit.errors import LatentEditError, MismatchError, UnknownNameError
from latentedit.prior.transport import _transport


@pytest.fixture(scope="module")
def transport() -> le.Transport:
    return le.Transport.fit(samples(), layers=generator.layers)


def test_a_gaussian_becomes_the_other_by_the_shortest_way() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 5, generator=random, dtype=torch.float64)
    c0, c1 = a @ a.T + torch.eye(5), b @ b.T
    m0, m1 = torch.randn(2, 5, generator=random, dtype=torch.float64)
    matrix, offset = _transport(m0, m1, c0, c1)
    assert torch.allclose(matrix @ m0 + offset, m1) and torch.allclose(matrix @ c0 @ matrix.T, c1)
    assert torch.allclose(matrix, matrix.T) and (torch.linalg.eigvalsh(matrix) >= 0).all()  # so it is the optimal one


def test_it_goes_to_the_carriers_and_back_to_the_lackers(transport: le.Transport) -> None:
    x = codes(64)
    before = scores(x, "smile").mean()
    assert scores(transport.edit(x, "smile"), "smile").mean() > before + 0.4
    assert scores(transport.edit(x, Edit("smile", -3)), "smile").mean() < before
    half, whole = (transport.edit(x, Edit("smile", s)) - x for s in (1.5, 3))
    assert torch.allclose(2 * half, whole, atol=1e-5)
    assert torch.equal(transport.edit(x, Edit("smile", 0)), x)


def test_slots_and_several_edits(transport: le.Transport) -> None:
    x = codes(4)
    some = transport.edit(x, Edit("smile", layers="1"))
    assert some.shape == (4, 2, 16) and torch.equal(some[:, 0], x)
    assert torch.allclose(some[:, 1], transport.edit(x, "smile"), atol=1e-5)
    both = transport.edit(x, {"smile": 1.0, "long_hair": 2.0})
    apart = transport.edit(x, {"smile": 1.0}) + transport.edit(x, {"long_hair": 2.0}) - x
    assert torch.allclose(both, apart, atol=1e-5)


def test_bad_input_is_told_in_a_line(transport: le.Transport) -> None:
    with pytest.raises(UnknownNameError, match="smil"):
        transport.edit(codes(2), "smil")
    with pytest.raises(LatentEditError, match="latent"):
        transport.edit(codes(2), Edit("smile", 1, unit="latent"))
    with pytest.raises(LatentEditError, match="goal"):
        transport.edit(codes(2), Edit("smile", goal=0.5))
    with pytest.raises(LatentEditError, match="16"):
        transport.edit(torch.zeros(2, 5), "smile")
    with pytest.raises(UnknownNameError, match="unseen"):
        le.Transport.fit(samples(), tags=["unseen"])
    with pytest.raises(MismatchError, match="not"):
        transport.check_generator(type(generator)(seed=50))
