"""One contract over the registry of finders: registering one is testing it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explicit import explicit
from toy import ToyGenerator, ToyTagger

from latentedit.directions import (
    FINDERS,
    SVD,
    Lasso,
    Linear,
    SeFa,
    fit_directions,
    register_finder,
    resolve_finder,
)
from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.moments import Moments
from latentedit.errors import LatentEditError, MismatchError, UnknownNameError
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples

NAMES = FINDERS.names()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("run") / "samples"
    return sample(ToyGenerator(), folder, tagger=ToyTagger(), n=600)


@pytest.fixture(scope="module")
def moments(samples: Samples) -> Moments:
    return Moments.from_samples(samples, cache=False)


def source_of(name: str, samples: Samples, moments: Moments) -> Any:
    return {"weights": ToyGenerator(), "moments": moments, "rows": samples}[resolve_finder(name).needs]


@pytest.fixture
def mean_difference() -> Iterator[str]:
    @register_finder("mean-difference")
    def fit(moments: Moments) -> list[Direction]:
        found = []
        for tag in moments.tags:
            step = moments.tagged(tag).mean_x - moments.whole.mean_x
            size = np.linalg.norm(step)
            vector = torch.from_numpy(step / size).float()
            found.append(Direction(tag, vector, float(size), moments.generator_id, finder="mean-difference"))
        return found

    yield "mean-difference"
    del FINDERS._objects["mean-difference"]


@pytest.mark.parametrize("name", NAMES)
def test_a_finder_is_a_frozen_dataclass_of_hyperparameters(name: str) -> None:
    finder = resolve_finder(name)
    assert finder.name == name and finder.needs in ("weights", "moments", "rows")
    assert dataclasses.is_dataclass(finder) and finder == resolve_finder(name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        finder.anything = 1  # type: ignore[attr-defined]
    assert finder.__doc__ and type(finder).fit.__doc__


@pytest.mark.parametrize("name", NAMES)
def test_directions_keep_the_convention(name: str, samples: Samples, moments: Moments) -> None:
    found = resolve_finder(name).fit(source_of(name, samples, moments))
    assert found and len({d.tag for d in found}) == len(found)
    for direction in found:
        assert direction.vector.dtype == torch.float32 and direction.vector.shape[-1] == 16
        assert abs(float(direction.vector.norm()) - 1) < 1e-5 and direction.sigma > 0
        assert direction.generator_id == ToyGenerator().id and direction.finder == name and direction.space == "w"
        assert direction.score is None or direction.score <= 1
    if resolve_finder(name).needs != "weights":
        assert {d.tag for d in found} == set(moments.tags)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_directions(name: str, samples: Samples, moments: Moments) -> None:
    source = source_of(name, samples, moments)
    first = resolve_finder(name).fit(source)
    assert first == resolve_finder(name).fit(source)
    some = [first[1].tag, first[0].tag]
    assert resolve_finder(name).fit(source, tags=some) == [first[1], first[0]]
    with pytest.raises(UnknownNameError):
        resolve_finder(name).fit(source, tags=["no such tag"])


@pytest.mark.parametrize("name", NAMES)
def test_directions_do_not_change_when_more_data_arrives(name: str, samples: Samples, moments: Moments) -> None:
    source = source_of(name, samples, moments)
    source = source.clone() if isinstance(source, Moments) else source
    found = resolve_finder(name).fit(source)
    before = [d.vector.clone() for d in found]
    if isinstance(source, Moments):
        source.merge(moments)
        source.update(np.ones((3, 16)), np.ones((3, len(source.tags))), groups=np.arange(3))
    if isinstance(source, ToyGenerator):
        source._paint.zero_()
    assert all(torch.equal(a, d.vector) for a, d in zip(before, found, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_fit_directions_save_load_and_edit(name: str, samples: Samples, tmp_path: Path) -> None:
    g = ToyGenerator()
    bank = fit_directions(samples, finder=name, generator=g)
    assert set(bank.tags) <= set(samples.tags()) and bank.layers == g.layers
    bank.save(tmp_path / "x.safetensors")
    assert list(DirectionBank.load(tmp_path / "x.safetensors")) == list(bank)
    codes = g.sample_codes(range(4))
    images = g.decode(bank.edit(codes, explicit({bank.tags[0]: 3.0}, layers="a")))
    assert not torch.allclose(images, g.decode(codes))
    with pytest.raises(MismatchError):
        bank.check_generator(ToyGenerator(seed=5))


@pytest.mark.parametrize("name", ["linear", "lasso", "svd", "sefa"])
def test_editing_towards_a_tag_raises_its_score(name: str, samples: Samples) -> None:
    g, t = ToyGenerator(), ToyTagger()
    bank = fit_directions(samples, finder=SVD(centred=True) if name == "svd" else name, generator=g)
    codes, column = g.sample_codes(range(5000, 5100)), t.tags.index("long_hair")
    before = t.score(g.decode(codes))[:, column].mean()
    moved = [t.score(g.decode(bank.edit(codes, {"long_hair": s})))[:, column].mean() for s in (-2.0, 2.0)]
    assert moved[0] < before < moved[1]


def test_sources(samples: Samples, moments: Moments, tmp_path: Path) -> None:
    moments.save(tmp_path / "m.safetensors")
    wanted = list(fit_directions(samples, finder="linear"))
    for source in (samples.path, str(samples.path), moments, tmp_path / "m.safetensors"):
        for one, two in zip(wanted, fit_directions(source, finder=Linear()), strict=True):
            torch.testing.assert_close(one.vector, two.vector)
    assert fit_directions(samples, finder=Linear(), tags=["smile"]).tags == ("smile",)
    assert fit_directions(ToyGenerator(), finder="sefa").tags[0] == "sefa_00"
    assert fit_directions(moments, finder="sefa", generator=ToyGenerator()).tags == moments.tags
    scores = fit_directions(samples, finder="linear", target="score")
    assert scores["smile"].params["target"] == "score"


def test_a_function_is_a_finder(samples: Samples, moments: Moments, mean_difference: str) -> None:
    assert mean_difference in FINDERS.names()
    bank = fit_directions(samples, finder=mean_difference)
    assert bank.tags == moments.tags and bank["smile"].finder == mean_difference
    assert fit_directions(moments, finder=mean_difference, tags=["smile"]).tags == ("smile",)
    assert fit_directions(moments, finder=FINDERS.get(mean_difference)).tags == moments.tags
    with pytest.raises(LatentEditError, match="registered already"):
        register_finder(mean_difference)(lambda moments: [])


def test_a_finder_of_rows_gets_the_samples(samples: Samples) -> None:
    @dataclasses.dataclass(frozen=True)
    class FirstCode:
        name: str = "first-code"
        needs: str = "rows"

        def fit(self, source: Samples, *, tags: Any = None) -> list[Direction]:
            code = torch.from_numpy(next(source.iter_batches()).codes[0])
            return [Direction("first", code / code.norm(), 1.0, source.generator_id)]

    assert fit_directions(samples, finder=FirstCode()).tags == ("first",)
    with pytest.raises(LatentEditError, match="every row"):
        fit_directions(Moments(16, ["a"], generator_id="toy:1"), finder=FirstCode())


def test_what_does_not_fit_is_refused(samples: Samples, moments: Moments, tmp_path: Path) -> None:
    g = ToyGenerator()
    cases: list[tuple[type[LatentEditError], str, Any, dict[str, Any]]] = [
        (UnknownNameError, "did you mean lasso", samples, {"finder": "laso"}),
        (LatentEditError, "generator=", samples, {"finder": "sefa"}),
        (LatentEditError, "tagged samples", g, {"finder": "lasso"}),
        (MismatchError, "belong together", samples, {"finder": "sefa", "generator": ToyGenerator(seed=5)}),
        (MismatchError, "belong together", moments, {"finder": "linear", "generator": ToyGenerator(seed=5)}),
        (LatentEditError, "cannot fit", 3, {"finder": "linear"}),
        (LatentEditError, "no finder", samples, {"finder": 3}),
        (UnknownNameError, "long_hair", samples, {"finder": "linear", "tags": ["long_hairs"]}),
        (LatentEditError, "nowhere", tmp_path / "nowhere", {"finder": "linear"}),
        (LatentEditError, "found no direction", moments, {"finder": lambda moments: []}),
    ]
    for kind, pattern, source, arguments in cases:
        with pytest.raises(kind, match=pattern) as caught:
            fit_directions(source, **arguments)
        assert "\n" not in str(caught.value)


def test_the_defaults_are_those_of_the_design() -> None:
    assert (Lasso().alpha, SVD().centred, Linear().cutoff) == ("auto", False, 1e-6)
    assert (SeFa().variant, SeFa().k, SeFa().layers) == ("normalised", 8, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert NAMES == sorted(NAMES) and {"sefa", "linear", "lasso", "svd"} <= set(NAMES)


def test_options_follow_a_name() -> None:
    assert resolve_finder("sefa?variant=raw&k=3") == SeFa(variant="raw", k=3)
    assert resolve_finder("svd?centred=True") == SVD(centred=True)
    assert len(SeFa(k=3).fit(ToyGenerator())) == len(fit_directions(ToyGenerator(), finder="sefa?k=3"))
    with pytest.raises(UnknownNameError, match="did you mean variant"):
        resolve_finder("sefa?varient=raw")
