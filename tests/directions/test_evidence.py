"""Directions that are no better than chance, components that several tags share, and codes that stand still."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import G
from made_directions import direction
from sklearn.linear_model import LinearRegression
from toy import ToyGenerator

import latentedit as le
from latentedit.directions import SVD, Lasso, Linear, SeFa
from latentedit.directions.evidence import above_chance, chance_line, shared_components
from latentedit.directions.moments import Moments, fold_of
from latentedit.errors import LatentEditError

N, D = 600, 8


def moments(y: np.ndarray, x: np.ndarray | None = None, **about: str) -> Moments:
    x = np.random.default_rng(0).standard_normal((len(y), D)) if x is None else x
    found = Moments(x.shape[1], [f"tag_{j:02d}" for j in range(y.shape[1])], **{"generator_id": "toy:1"} | about)
    found.update(x, y, groups=np.arange(len(y)))
    return found


def real_and_noise(seed: int = 1) -> Moments:
    """The first tag follows the code, faintly; the second is a coin."""
    random = np.random.default_rng(0)
    x = random.standard_normal((N, D))
    real = 0.4 * x[:, 2] + np.random.default_rng(seed).standard_normal(N) > 0.5
    return moments(np.stack([real, np.random.default_rng(seed + 1).random(N) < 0.3], 1).astype(float), x)


@pytest.mark.parametrize("finder", [Linear(), Lasso(), Lasso(alpha=0.01), SVD(centred=True)], ids=str)
def test_a_tag_of_pure_noise_is_named_when_it_is_fitted_and_a_real_one_is_not(finder: object, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((N, D)) * np.where(np.arange(D) == 2, 3, 1)
    real = x[:, 2] > 1.5
    with pytest.warns(
        UserWarning, match=r"^tag_01 is no better than chance, so expect nothing to move along it"
    ) as caught:
        data = moments(np.stack([real, random.random(N) < 0.3], 1).astype(float), x)
        bank = le.fit_directions(data, finder=finder)
    assert len(caught) == 1
    bank.save(tmp_path / "x.safetensors")
    back = le.DirectionBank.load(tmp_path / "x.safetensors")  # a file says the same as the fit
    assert [above_chance(d) for d in back] == [True, False]
    assert "tag_01" in str(chance_line(back)) and chance_line([back["tag_00"]]) is None


def test_of_noise_one_in_forty_passes_and_of_what_is_faint_most_does() -> None:
    random = np.random.default_rng(5)
    x = random.standard_normal((N, D))
    coins = moments((random.random((N, 300)) < 0.2).astype(float), x)
    noise = Linear().fit(coins)
    assert sum(above_chance(d) is True for d in noise) < 0.06 * len(noise)  # 2.5 % is what a 95 % interval promises
    chosen = Lasso().fit(coins, tags=coins.tags[:40])  # an alpha for each tag, by the same folds
    assert sum(above_chance(d) is True for d in chosen) < 5 < sum((d.score or 0) > 0 for d in chosen)
    faint = (0.4 * x[:, :1] + random.standard_normal((N, 100)) > 0.8).astype(float)
    assert np.mean([above_chance(d) is True for d in Linear().fit(moments(faint, x))]) > 0.8


def test_the_held_out_correlation_is_that_of_the_rows() -> None:
    data, groups = real_and_noise(), np.arange(N)
    x = np.random.default_rng(0).standard_normal((N, D))
    y = (0.4 * x[:, 2] + np.random.default_rng(1).standard_normal(N) > 0.5).astype(float)
    folds = fold_of(groups)
    r = []
    for k in range(5):
        predicted = LinearRegression().fit(x[folds != k], y[folds != k]).predict(x[folds == k])
        r.append(np.corrcoef(predicted, y[folds == k])[0, 1])
    params = Linear().fit(data)[0].params
    assert params["held_out_correlation"] == pytest.approx(np.mean(r), abs=1e-9)
    error = np.sqrt((1 / 5 + 1 / 4) * np.var(r, ddof=1))
    assert params["held_out_low"] == pytest.approx(np.mean(r) - 2.7764451 * error, abs=1e-6)


def test_files_of_earlier_versions_go_by_their_score() -> None:
    assert above_chance(direction(score=0.2)) is True
    assert above_chance(direction(score=0.0)) is False and above_chance(direction(score=-0.1)) is False
    assert above_chance(direction()) is None  # imported, or a sum: nothing is known
    assert chance_line([direction("a", score=0.0), direction("b", score=-1.0)]).startswith("a, b are no better")


def test_components_that_several_tags_were_given_are_named() -> None:
    generator = G  # it remembers the codes that sigma is measured on
    x = generator.sample_codes(range(N)).double().numpy()
    components = SeFa(k=4).fit(generator)
    along = x @ components[1].vector.double().numpy()
    along = (along - along.mean()) / along.std()
    random = np.random.default_rng(3)
    y = np.stack([along > 1, along < -1, random.random(N) < 0.5], 1).astype(float)
    data = moments(y, x, generator_id=generator.id)
    with pytest.warns(UserWarning) as caught:
        bank = le.fit_directions(data, finder=SeFa(k=4), generator=generator)
    said = [str(one.message) for one in caught]
    assert len(said) == 2 and "(cosine ±1.00): sefa_01 (tag_00, tag_01" in said[0]
    assert said[1].startswith("tag_02 is no better than chance")
    assert shared_components(bank)["sefa_01"][:2] == ("tag_00", "tag_01")
    assert shared_components(SeFa(k=4).fit(generator)) == {}
    assert float(bank.cosines()[0, 1]) == pytest.approx(-1)
    params = bank["tag_02"].params
    assert abs(params["correlation"]) < params["correlation_by_chance"] == pytest.approx(2.4977 / N**0.5, rel=1e-4)
    assert above_chance(bank["tag_00"]) is True and bank["tag_00"].params["correlation"] > 0.5


# ---- codes that stand still


class Still(ToyGenerator):
    """The toy generator with codes that never change in half of their numbers."""

    def sample_codes(self, seeds: range, *, label: int | None = None, truncation: float = 1.0) -> torch.Tensor:
        codes = torch.from_numpy(np.random.default_rng(0).standard_normal((len(seeds), self.dim))).float()
        codes[:, 8:] = 0.25
        return codes

    def style_weights(self) -> dict[str, torch.Tensor]:
        return {"affine": torch.diag(torch.arange(16, 0, -1.0)[torch.randperm(16, generator=torch.manual_seed(0))])}


def test_what_codes_do_not_vary_along_is_not_fitted() -> None:
    generator = Still()
    with pytest.warns(UserWarning, match="^sefa found no direction for sefa_") as caught:
        bank = le.fit_directions(generator, finder=SeFa(variant="raw", k=16))
    assert len(bank) == 8 and str(caught[0].message).count("sefa_") == 8
    with pytest.warns(UserWarning), pytest.raises(LatentEditError, match="no direction for any tag"):
        lost = next(f"sefa_{i:02d}" for i in range(16) if f"sefa_{i:02d}" not in bank)
        le.fit_directions(generator, finder=SeFa(variant="raw", k=16), tags=[lost])
    x = generator.sample_codes(range(N)).double().numpy()
    x[:, 8:] += 1e-12 * np.random.default_rng(1).standard_normal((N, 8))  # rounding

    def along(data: Moments) -> list[le.Direction]:
        from latentedit.directions.finder import make_directions

        columns = np.eye(16)[:, [0, 12]]
        return make_directions(data, columns, finder="axes", params=[{}, {}], scores=None)

    with pytest.warns(UserWarning, match="axes found no direction for tag_01"):
        assert [d.tag for d in along(moments((x[:, :2] > 0).astype(float), x))] == ["tag_00"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (
            len(along(moments((x[:, :2] > 0).astype(float), x + np.random.default_rng(2).standard_normal(x.shape))))
            == 2
        )
