"""Directions of other projects: read, measured, and written back."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import arrays
from explicit import explicit
from foreign import G, Sized, ganspace, normal, only, refused, save, unit
from torch import Tensor

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.formats import (
    convert_file,
    export_directions,
    import_directions,
    read_codes,
)
from latentedit.directions.sefa import SIGMA_SEEDS
from latentedit.errors import MismatchError, UnknownNameError
from latentedit.files import sha256_of

# ---- one direction


@pytest.mark.parametrize("name", ["ratio0.2_split1", "ratio0.2_split0.7", "num50_split1", "ratio1_split1"])
def test_interfacegan_boundaries_come_and_go_bit_by_bit(tmp_path: Path, name: str) -> None:
    boundary = arrays("interfacegan")[f"out_boundary_{name}"]
    path = save(tmp_path / "smile.npy", boundary)
    g = Sized(48, 4)
    got = only(import_directions(path, g, generator_name="toy"))
    assert (got.tag, got.finder, got.generator_id, got.layers, got.space) == ("smile", "imported", g.id, g.layers, "w")
    assert got.params == {"format": "interfacegan", "file": "smile.npy", "sha256": sha256_of(path), "shape": [1, 48]}
    assert np.array_equal(got.vector.numpy(), boundary[0]) and got.coefficient_norm == 1.0
    bank = import_directions(path, g, tags=["grin"])
    for target, form in (("back.npy", None), ("back2.npy", "interfacegan")):
        export_directions(bank, tmp_path / target, format=form)
        back = np.load(tmp_path / target)
        assert back.dtype == np.float32 and np.array_equal(back, boundary)
    assert bank.tags == ("grin",)


def test_interfacegan_interpolation_by_slot_is_an_edit_in_latent_units(tmp_path: Path) -> None:
    io_ = arrays("interfacegan")
    bank = import_directions(save(tmp_path / "b.npy", io_["in_primal"]), Sized(48, 4))
    code = torch.from_numpy(io_["in_code3d"])
    moved = torch.cat([bank.edit(code, explicit({"b": float(s)}, unit="latent")) for s in np.linspace(-2, 2, 5)])
    np.testing.assert_allclose(moved.numpy(), io_["out_interp_3d"], rtol=0, atol=1e-6)
    wrong = bank.edit(code, explicit({"b": 2.5}, unit="latent"))
    assert np.abs(wrong.numpy()[0] - io_["out_interp_3d"][-1]).max() > 1e-2


def test_interfacegan_interpolation_of_one_code_moves_to_distances(tmp_path: Path) -> None:
    io_ = arrays("interfacegan")
    bank = import_directions(save(tmp_path / "b.npy", io_["in_primal"]), Sized(48, 4))
    code = torch.from_numpy(io_["in_code2d"])
    there = float(code[0].double() @ bank["b"].vector.double())
    steps = np.linspace(-3, 3, 7)
    moved = torch.cat([bank.edit(code, explicit({"b": float(s) - there}, unit="latent")) for s in steps])
    np.testing.assert_allclose(moved.numpy(), io_["out_interp_2d"], rtol=0, atol=1e-5)
    by = torch.cat([bank.edit(code, explicit({"b": float(s)}, unit="latent")) for s in steps])
    assert abs(there) > 1e-2 and np.abs(by.numpy() - io_["out_interp_2d"]).max() > 1e-3  # the documented difference


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize("shape", [(16,), (1, 16), (3, 16)])
@pytest.mark.parametrize("length", [1.0, 0.03, 40.0])
def test_directions_of_any_length_come_back(tmp_path: Path, suffix: str, shape: tuple[int, ...], length: float) -> None:
    values = unit(*shape) * np.float32(length)
    path = save(tmp_path / f"age{suffix}", values if suffix == ".npy" else torch.from_numpy(values))
    bank = import_directions(path, G, rows="slots" if shape == (3, 16) else None)
    got = only(bank)
    assert got.vector.shape == ((3, 16) if shape == (3, 16) else (16,)) and got.tag == "age"
    assert abs(float(got.vector.double().norm()) - 1) < 1e-5
    assert got.coefficient_norm == pytest.approx(length, rel=1e-6)
    bank.save(tmp_path / "bank.safetensors")  # nothing is lost on the way through a file
    for other in (".npy", ".pt"):
        export_directions(DirectionBank.load(tmp_path / "bank.safetensors"), tmp_path / f"back{other}")
    back = [np.load(tmp_path / "back.npy"), torch.load(tmp_path / "back.pt", weights_only=True).numpy()]
    for one in back:
        assert one.dtype == np.float32 and one.shape == shape
        np.testing.assert_allclose(one, values, rtol=3e-7, atol=0)
        if length == 1.0:
            assert np.array_equal(one, values)
    raw = bank.edit(torch.zeros(1, 16), explicit({"age": 1.0}, unit="raw"))
    np.testing.assert_allclose(raw.numpy().reshape(-1, 16), values.reshape(-1, 16), rtol=1e-6, atol=1e-9)
    assert np.array_equal(np.sign(got.vector.numpy().ravel()), np.sign(values.ravel()))


def test_other_precisions_layouts_and_containers_are_read(tmp_path: Path) -> None:
    values = unit(3, 16)
    wanted = only(import_directions(save(tmp_path / "a.npy", values), G, rows="slots")).vector
    for i, other in enumerate((values.astype(np.float64), values.astype(">f4"), np.asfortranarray(values))):
        assert torch.equal(only(import_directions(save(tmp_path / f"b{i}.npy", other), G, rows="slots")).vector, wanted)
    tensor = torch.from_numpy(values)
    torch.save(tensor, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Parameter(tensor), tmp_path / "parameter.pt")
    torch.save(torch.stack([tensor, tensor])[1], tmp_path / "view.pt")
    torch.save(tensor.T.contiguous().T, tmp_path / "strided.pt")
    for name in ("old", "parameter", "view", "strided"):
        assert torch.equal(only(import_directions(tmp_path / f"{name}.pt", G, rows="slots")).vector, wanted), name
    half = only(import_directions(save(tmp_path / "half.pt", tensor.bfloat16()), G, rows="slots")).vector
    torch.testing.assert_close(half, wanted, rtol=0, atol=5e-3)


# ---- sigma


def test_sigma_is_the_deviation_of_the_generators_codes(tmp_path: Path) -> None:
    codes = G.sample_codes(SIGMA_SEEDS).double().numpy()
    flat, slots = unit(1, 16), unit(3, 16, seed=1)
    got = only(import_directions(save(tmp_path / "a.npy", flat * 7), G))
    assert got.sigma == pytest.approx(np.std([row @ flat[0] for row in codes]), rel=1e-5)
    got = only(import_directions(save(tmp_path / "b.npy", slots), G, rows="slots"))
    repeated = np.repeat(codes[:, None], 3, 1).reshape(len(codes), -1)  # the projection in the space of all slots
    assert got.sigma == pytest.approx((repeated @ slots.reshape(-1)).std(), rel=1e-5)


def test_the_same_row_in_every_slot_moves_as_the_row_alone(tmp_path: Path) -> None:
    one = import_directions(save(tmp_path / "a.npy", unit(1, 16)), G)
    all_slots = import_directions(save(tmp_path / "b.npy", np.repeat(unit(1, 16), 3, 0)), G, rows="slots")
    codes = G.sample_codes(range(4))
    torch.testing.assert_close(
        all_slots.edit(codes, {"b": 2.0}), one.edit(codes, explicit({"a": 2.0}, layers="0-2")), rtol=0, atol=1e-5
    )


def test_what_codes_do_not_vary_along_is_no_direction(tmp_path: Path) -> None:
    cancels = np.concatenate([unit(1, 16), -unit(1, 16), np.zeros((1, 16), np.float32)])
    refused("do not vary along it .*: a; that is no direction", import_directions, save(tmp_path / "a.npy", cancels), G,
            rows="slots")  # fmt: skip
    both = save(tmp_path / "b.npz", {"still": cancels, "smile": unit(3, 16)})
    with pytest.warns(UserWarning, match="do not vary along it .*: still"):
        assert import_directions(both, G).tags == ("smile",)


# ---- several directions


class Recorded(Sized):
    """A generator whose codes are those of the fixture."""

    def __init__(self, codes: np.ndarray) -> None:
        super().__init__(codes.shape[1], 2)
        self._codes = torch.from_numpy(codes)

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        return self._codes


@pytest.mark.parametrize("estimator", ["ipca", "pca"])
def test_ganspace_components(tmp_path: Path, estimator: str) -> None:
    held, codes = ganspace(estimator)
    path = save(tmp_path / "c.npz", held)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bank = import_directions(path, Recorded(codes))
    assert bank.tags == tuple(f"ganspace_{i:02d}" for i in range(10))
    for i, direction in enumerate(bank):
        assert np.array_equal(direction.vector.numpy(), held["lat_comp"][i, 0])
        assert direction.params["lat_stdev"] == float(held["lat_stdev"][i])
        independent = (codes.astype(np.float64) @ held["lat_comp"][i, 0]).std()
        assert direction.sigma == pytest.approx(independent, rel=1e-6)
        assert direction.params["lat_stdev"] == pytest.approx(independent, rel=1e-4)
    two = import_directions(path, Recorded(codes), tags=["ganspace_03", "ganspace_00"])
    assert two.tags == ("ganspace_03", "ganspace_00") and two["ganspace_03"] == bank["ganspace_03"]
    moved = bank.edit(torch.from_numpy(codes[:2]), {"ganspace_01": 2.0})
    official = codes[:2] + 2 * held["lat_stdev"][1] * held["lat_comp"][1]
    np.testing.assert_allclose(moved.numpy(), official, rtol=0, atol=1e-4)
    export_directions(bank, tmp_path / "one.npy", tags=["ganspace_04"])
    assert np.array_equal(np.load(tmp_path / "one.npy"), held["lat_comp"][4])


def test_ganspace_of_another_generator_or_of_z_is_said_to_be_so(tmp_path: Path) -> None:
    held, codes = ganspace("ipca")
    with pytest.warns(UserWarning, match="times as much along these components"):
        import_directions(save(tmp_path / "a.npz", held), Recorded(3 * codes))
    z = held | {"lat_stdev": np.ones(10, np.float32)}
    with pytest.warns(UserWarning, match="found in z"):
        import_directions(save(tmp_path / "b.npz", z), Recorded(3 * codes))


def test_ganspace_as_e4e_keeps_it(tmp_path: Path) -> None:
    held, codes = ganspace("ipca")
    tree = {"comp": held["lat_comp"], "mean": held["lat_mean"], "std": held["lat_stdev"]}
    path = save(tmp_path / "ffhq_pca.pt", {name: torch.from_numpy(value) for name, value in tree.items()})
    got = import_directions(path, Recorded(codes))
    assert list(got) == list(import_directions(save(tmp_path / "c.npz", held), Recorded(codes)))


def test_rosinalitys_factors_are_columns(tmp_path: Path) -> None:
    eigvec = arrays("rosinality_stylegan2")["out_eigvec_first8"]
    g = Sized(512, 8)
    path = save(tmp_path / "factor.pt", {"ckpt": "550000.pt", "eigvec": torch.from_numpy(eigvec)})
    bank = import_directions(path, g)
    assert bank.tags == tuple(f"factor_{i:02d}" for i in range(8)) and bank["factor_05"].params["ckpt"] == "550000.pt"
    for i, direction in enumerate(bank):
        assert np.array_equal(direction.vector.numpy(), eigvec[:, i])
    square = np.linalg.qr(normal(512, 512))[0]
    whole = import_directions(save(tmp_path / "all.pt", {"ckpt": "x", "eigvec": torch.from_numpy(square)}), g)
    assert len(whole) == 512 and np.array_equal(whole["factor_511"].vector.numpy(), square[:, 511])
    assert not np.allclose(whole["factor_03"].vector.numpy(), square[3], atol=1e-2)  # not the rows
    refused("did you mean factor_", import_directions, path, g, tags=["factor_08"], kind=UnknownNameError)


def test_halcys_tags(tmp_path: Path) -> None:
    tree = {
        "long_hair": np.repeat(normal(1, 16), 3, 0) * 0.01,
        "smile": normal(3, 16, seed=2),
        "none": np.zeros((3, 16)),
    }
    tree["none"] = tree["none"].astype(np.float32)
    path = save(tmp_path / "tag_dirs_cont.pkl", tree)
    with pytest.warns(UserWarning, match="zero throughout: none"):
        bank = import_directions(path, G)
    assert bank.tags == ("long_hair", "smile") and bank["smile"].params["format"] == "halcy"
    for direction in bank:
        step = bank.edit(torch.zeros(1, 16), explicit({direction.tag: 1.0}, unit="raw"))
        np.testing.assert_allclose(step.numpy()[0], tree[direction.tag], rtol=1e-6, atol=1e-8)
    assert import_directions(path, G, tags=["smile"]).tags == ("smile",)
    refused("unknown direction 'bald'", import_directions, path, G, tags=["bald"])
    refused("zero throughout", import_directions, path, G, tags=["none"])


# ---- export


def test_what_a_format_cannot_hold_is_refused_with_what_can(tmp_path: Path) -> None:
    make = {"generator_id": G.id, "sigma": 0.5, "layers": G.layers}
    flat = DirectionBank([Direction(tag, torch.from_numpy(unit(16, seed=i)), **make) for i, tag in enumerate("ab")])
    slots = DirectionBank([Direction("s", torch.from_numpy(unit(3, 16)), **make)])
    refused("hold one direction; choose one tag of a, b", export_directions, flat, tmp_path / "x.npy")
    refused("npy, pt or .safetensors", export_directions, slots, tmp_path / "x.npy", format="interfacegan")
    refused("written to .npy, .npz, .pt, .safetensors", export_directions, flat, tmp_path / "x.txt")
    refused(
        "read and not written; written are: latentedit", export_directions, flat, tmp_path / "x.pkl", format="halcy"
    )
    refused("is a format of codes", export_directions, flat, tmp_path / "x.npz", format="projected-w")
    refused("unknown direction 'c'", export_directions, flat, tmp_path / "x.npy", tags=["c"])
    refused("give a list of a, b", export_directions, flat, tmp_path / "x.npy", tags=[])
    assert not list(tmp_path.iterdir())
    export_directions(slots, tmp_path / "x.npy")
    assert np.load(tmp_path / "x.npy").shape == (3, 16)


def test_coefficients_are_written_raw_and_boundaries_unit(tmp_path: Path) -> None:
    vector = unit(16)
    make = {"generator_id": G.id, "layers": G.layers}
    lasso = Direction("a", torch.from_numpy(vector), sigma=0.5, coefficient_norm=0.25, **make)
    other = Direction("b", torch.from_numpy(unit(16, seed=1)), sigma=0.5, **make)
    bank = DirectionBank([lasso, -lasso * 2, lasso - other])
    minus, difference = bank.tags[1:]
    written = {}
    cases = {"raw": ("a", "npy"), "unit": ("a", "interfacegan"), "minus": (minus, "npy"), "sum": (difference, "npy")}
    for name, (tag, form) in cases.items():
        export_directions(bank, tmp_path / f"{name}.npy", tags=[tag], format=form)
        written[name] = np.load(tmp_path / f"{name}.npy")
    np.testing.assert_allclose(written["raw"], 0.25 * vector[None], rtol=1e-6)
    assert np.array_equal(written["unit"], vector[None])
    np.testing.assert_allclose(written["minus"], -0.5 * vector[None], rtol=1e-6)
    assert np.array_equal(written["sum"][0], bank[difference].vector.numpy())


# ---- convert


def test_convert_directions_both_ways(tmp_path: Path) -> None:
    source = save(tmp_path / "boundary.npy", unit(1, 16))
    done = convert_file(source, tmp_path / "smile.safetensors", generator=G, tags=["smile"], generator_name="toy:x")
    assert done == ("directions", "interfacegan", "latentedit", ("smile",), (16,))
    bank = DirectionBank.load(tmp_path / "smile.safetensors")
    assert bank.generator_name == "toy:x" and bank.generator_id == G.id and bank["smile"].finder == "imported"
    done = convert_file(tmp_path / "smile.safetensors", tmp_path / "back.npy", tags=["smile"])  # no generator is needed
    assert done.target_format == "npy" and np.array_equal(np.load(tmp_path / "back.npy"), unit(1, 16))
    convert_file(source, tmp_path / "other.pt", generator=G)
    assert np.array_equal(torch.load(tmp_path / "other.pt", weights_only=True).numpy(), unit(1, 16))
    refused("which generator", convert_file, source, tmp_path / "x.pt")
    fits_another = {"generator": Sized(16, 2), "kind": MismatchError}
    refused("fit the generator", convert_file, tmp_path / "smile.safetensors", tmp_path / "x.npy", **fits_another)
    refused("unknown direction 'a'", convert_file, tmp_path / "smile.safetensors", tmp_path / "x.npy", tags=["a"])
    assert not (tmp_path / "x.pt").exists() and not (tmp_path / "x.npy").exists()


def test_convert_codes(tmp_path: Path) -> None:
    w = save(tmp_path / "w.npy", normal(4, 16))
    done = convert_file(w, tmp_path / "a.npz", generator=G)  # only codes are written to .npz
    assert done == ("codes", "latents-npy", "projected-w", ("w-0", "w-1", "w-2", "w-3"), (4, 16))
    done = convert_file(tmp_path / "a.npz", tmp_path / "b.pt")
    assert done.target_format == "latents-pt" and done.shape == (4, 3, 16)
    assert torch.equal(read_codes(tmp_path / "b.pt")[:, 1], read_codes(w))
    convert_file(w, tmp_path / "c.pt", source_format="latents-npy")
    convert_file(w, tmp_path / "d.pt", target_format="latents-pt")
    assert torch.equal(read_codes(tmp_path / "c.pt"), read_codes(w)) and torch.equal(
        read_codes(tmp_path / "d.pt"), read_codes(w)
    )
    with pytest.warns(UserWarning, match="called w_00 to w_03"):  # rows are directions, unless the target says codes
        refused("hold one direction.*--to latents-pt", convert_file, w, tmp_path / "x.pt", generator=G)
    refused("this generator takes", convert_file, w, tmp_path / "x.npz", generator=Sized(8, 3))
    refused("have no tags", convert_file, w, tmp_path / "x.npz", tags=["a"])
    refused("written to .npy, .npz, .pt", convert_file, tmp_path / "b.pt", tmp_path / "x.safetensors")
    refused("unknown format", convert_file, w, tmp_path / "x.npz", source_format="w")
    refused(
        "is a format of codes", convert_file, w, tmp_path / "x.npz", source_format="npy", target_format="projected-w"
    )
    assert not list(tmp_path.glob("x.*"))
