"""SeFa against numpy's SVD and the directions of the official implementations."""

from __future__ import annotations

import json
import zlib

import numpy as np
import pytest
import torch
from places import FIXTURES
from toy import ToyGenerator

from latentedit.directions import SeFa, match_by_correlation
from latentedit.directions.moments import Moments
from latentedit.directions.sefa import factorise, sigma_codes
from latentedit.errors import LatentEditError, MismatchError, UnknownNameError


def official(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Style weights, rebuilt from their names, and what the official code found in them."""
    weights = {}
    for about in json.loads(((FIXTURES / "sefa") / f"{name}.json").read_text())["weights"]:
        random = np.random.default_rng(zlib.crc32(about["name"].encode()))
        x = random.standard_normal(about["shape"]).astype(np.float32)
        x = x * np.float32(about["scale"]) + np.float32(about["offset"])
        assert zlib.crc32(x.tobytes()) == about["crc32"]
        weights[about["name"]] = x
    with np.load((FIXTURES / "sefa") / f"{name}.npz") as expected:
        return weights, dict(expected)


class Fixed:
    """A generator that has style weights and nothing else of interest."""

    id, z_dim, dim, layers, resolution = "fixed:1", 2, 512, ("a", "b"), 32

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self._weights = {name: torch.from_numpy(w) for name, w in weights.items()}

    def style_weights(self) -> dict[str, torch.Tensor]:
        return self._weights

    def sample_codes(self, seeds: range, **_: object) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(len(seeds)).standard_normal((64, self.dim))).float()


@pytest.mark.parametrize(("key", "layers"), [("boundaries_all_first6", None), ("boundaries_0-3_first6", range(4))])
def test_normalised_is_genforces_factorize_weight(key: str, layers: range | None) -> None:
    weights, expected = official("stylegan2")
    chosen = None if layers is None else tuple(f"synthesis.layer{i}.style.weight" for i in layers)
    found = SeFa(k=6, layers=chosen).fit(Fixed(weights))
    for direction, reference in zip(found, expected[key], strict=True):
        assert abs(direction.vector.numpy() @ reference) > 0.999
    if layers is None:
        np.testing.assert_allclose([d.params["eigenvalue"] for d in found], expected["eigenvalues_all"], rtol=1e-4)
        raw = SeFa(k=6, variant="raw").fit(Fixed(weights))  # the negative control
        assert abs(raw[1].vector.numpy() @ expected[key][1]) < 0.9


def test_raw_is_gans_n_roses_svd() -> None:
    weights, expected = official("gansnroses")
    for i, direction in enumerate(SeFa(variant="raw").fit(Fixed(weights))):
        assert abs(direction.vector.numpy() @ expected["v"][:, i]) > 0.999
        assert direction.params["eigenvalue"] == pytest.approx(expected["singular_values"][i] ** 2, rel=1e-4)


@pytest.mark.parametrize("normalise", [True, False])
def test_factorise_is_numpys_svd(normalise: bool) -> None:
    a = np.random.default_rng(0).standard_normal((50, 12))
    a[7] = 0
    rows = a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-300) if normalise else a
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    values, v = factorise(a, normalise=normalise)
    np.testing.assert_allclose(values, s**2, rtol=1e-10)
    np.testing.assert_allclose(np.abs((v.T * vt).sum(1)), 1, rtol=1e-10)
    assert (v[np.abs(v).argmax(0), range(12)] > 0).all()


def test_directions_of_a_generator() -> None:
    g = ToyGenerator()
    found = SeFa(k=3).fit(g)
    assert [d.tag for d in found] == ["sefa_00", "sefa_01", "sefa_02"]
    codes = g.sample_codes(range(2**31, 2**31 + 4096)).double().numpy()
    for direction in found:
        assert direction.sigma == pytest.approx((codes @ direction.vector.double().numpy()).std(), rel=1e-5)
        assert (direction.generator_id, direction.layers, direction.tagger_id) == (g.id, g.layers, None)
        assert direction.vector[direction.vector.abs().argmax()] > 0 and direction.score is None
    assert SeFa(k=3).fit(g, tags=["sefa_02"]) == [found[2]]
    assert SeFa(k=3, layers=("b.affine",)).fit(g) != found


def test_bad_choices_are_refused() -> None:
    g = ToyGenerator()
    for bad in (SeFa(k=0), SeFa(k=17), SeFa(layers=("a",)), SeFa(variant="best"), SeFa(layers=())):  # type: ignore[arg-type]
        with pytest.raises(LatentEditError):
            bad.fit(g)
    with pytest.raises(UnknownNameError, match="a.affine"):
        SeFa(layers=("a",)).fit(g)  # part of a name is not a name
    with pytest.raises(UnknownNameError):
        SeFa().fit(g, tags=["sefa_99"])


def test_tags_get_the_component_that_correlates_most() -> None:
    g = ToyGenerator()
    components = SeFa(k=4).fit(g)
    x = g.sample_codes(range(800)).double().numpy()
    v = np.stack([d.vector.double().numpy() for d in components], 1)
    score = np.stack([-(x @ v)[:, 2], (x @ v)[:, 1] + np.random.default_rng(0).standard_normal(800), np.ones(800)], 1)
    y = (score > np.median(score, 0)).astype(float)
    moments = Moments(16, ["long_hair", "smile", "constant"], generator_id=g.id, tagger_id="t:1")
    moments.update(x, y, groups=np.arange(800))
    with pytest.warns(UserWarning, match="no direction for constant"):
        found = match_by_correlation(components, moments)
    assert [d.tag for d in found] == ["long_hair", "smile"]
    correlation = np.corrcoef(np.concatenate([x @ v, y[:, :2]], 1).T)[:4, 4:]  # (k, t)
    for j, direction in enumerate(found):
        best = int(np.abs(correlation[:, j]).argmax())
        assert direction.params["matched_by"] == "correlation" and direction.params["component"] == f"sefa_{best:02d}"
        assert direction.params["correlation"] == pytest.approx(correlation[best, j])
        assert torch.equal(direction.vector, components[best].vector * float(np.sign(correlation[best, j])))
        assert np.corrcoef(x @ direction.vector.double().numpy(), y[:, j])[0, 1] > 0
        assert direction.score == pytest.approx(correlation[best, j] ** 2, abs=0.02)
    assert found[0].params["component"] == "sefa_02" and found[0].vector[found[0].vector.abs().argmax()] < 0
    with pytest.raises(MismatchError):
        match_by_correlation(components, Moments(16, ["a"], generator_id="other:1"))


def test_the_codes_that_sigma_is_measured_on_are_drawn_once_a_generator(monkeypatch):
    """Two fits of one generator draw them once, another generator draws its own, and nobody can change them."""
    drawn = []
    sample_codes = ToyGenerator.sample_codes

    def counting(self, seeds, **rest):
        drawn.append(len(seeds))
        return sample_codes(self, seeds, **rest)

    monkeypatch.setattr(ToyGenerator, "sample_codes", counting)
    one, other = ToyGenerator(), ToyGenerator(seed=1)
    first, again = SeFa(k=2).fit(one), SeFa(k=1).fit(one)
    assert drawn == [4096] and again[0].sigma == pytest.approx(first[0].sigma, rel=1e-12)
    assert SeFa(k=1).fit(other)[0].sigma != first[0].sigma and drawn == [4096, 4096]
    with pytest.raises(ValueError, match="read-only"):
        sigma_codes(one)[0] = 0
