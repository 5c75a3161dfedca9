"""Files of directions and codes that do not fit, are damaged, or ask for code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import G, ganspace, normal, only, refused, save, unit

from latentedit.directions.formats import convert_file, import_directions, read_codes
from latentedit.errors import DamagedFileError, LatentEditError, UnsafeFileError

# ---- what does not fit


@pytest.mark.parametrize("shape", [(1, 18), (18,), (16, 3)])
def test_codes_of_another_size_are_refused_with_both_numbers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = save(tmp_path / "a.npy", normal(*shape))
    refused(f"directions of {shape[-1]} numbers, toy:.* has codes of 16", import_directions, path, G)


@pytest.mark.parametrize("rows", [2, 4, 18])
def test_another_number_of_slots_is_refused_with_both_numbers(tmp_path: Path, rows: int) -> None:
    path = save(tmp_path / "a.npy", normal(rows, 16))
    refused(f"{rows} rows, toy:.* has 3 slots", import_directions, path, G, rows="slots")


def test_codes_and_scores_are_no_directions(tmp_path: Path) -> None:
    refused("a file of scores", import_directions, save(tmp_path / "scores.npy", normal(40, 1)), G)
    w = save(tmp_path / "w.npy", normal(5, 3, 16))
    refused("that of codes", import_directions, w, G)
    refused("that of codes", import_directions, w, G, format="npy")
    refused("--as directions or --as slots", import_directions, save(tmp_path / "one.npy", normal(1, 3, 16)), G)
    assert only(import_directions(tmp_path / "one.npy", G, rows="slots")).vector.shape == (3, 16)
    assert only(import_directions(tmp_path / "one.npy", G, format="npy")).vector.shape == (3, 16)
    projected = save(tmp_path / "projected_w.npz", {"w": normal(1, 3, 16)})
    refused("is a format of codes .*; for directions: latentedit", import_directions, projected, G)
    refused("a file of scores", read_codes, tmp_path / "scores.npy")
    held, _ = ganspace("ipca")
    refused("directions .*, not codes", read_codes, save(tmp_path / "c.npz", held))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float) -> None:
    values = normal(1, 16)
    values[0, 3] = bad
    path = save(tmp_path / "a.npy", values)
    refused("not finite", import_directions, path, G, kind=DamagedFileError)
    refused("not finite", read_codes, path, kind=DamagedFileError)
    refused("not finite", import_directions, save(tmp_path / "b.pkl", {"smile": values}), G, kind=DamagedFileError)
    refused("not finite", read_codes, save(tmp_path / "c.npy", np.full((1, 16), 1e300)), kind=DamagedFileError)


def test_zero_is_no_direction(tmp_path: Path) -> None:
    refused("no direction", import_directions, save(tmp_path / "a.npy", np.zeros((1, 16), np.float32)), G)
    tiny = only(import_directions(save(tmp_path / "b.npy", unit(1, 16) * np.float32(1e-30)), G))
    np.testing.assert_allclose(tiny.vector.numpy(), unit(16), atol=1e-6)


def test_files_of_another_format_than_was_said(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npy", unit(1, 16))
    for name in ("ganspace", "factor", "halcy"):
        refused("not of that format", import_directions, path, G, format=name, kind=DamagedFileError)
    pickled = save(tmp_path / "b.pkl", {"smile": normal(3, 16)})
    refused("has no lat_comp|has no comp", import_directions, pickled, G, format="ganspace", kind=DamagedFileError)
    refused("has no eigvec", import_directions, pickled, G, format="factor", kind=DamagedFileError)
    refused("several things .smile", import_directions, pickled, G, format="npy", kind=DamagedFileError)
    refused("unknown format 'nppy'; did you mean npy", import_directions, path, G, format="nppy")
    refused("has no array w", read_codes, path, format="projected-w", kind=DamagedFileError)
    refused("not of a projector", read_codes, pickled, format="projector", kind=DamagedFileError)
    refused("one tag", import_directions, path, G, tags=["a", "b"])
    refused("give a list", import_directions, path, G, tags="smile")
    mixed = save(tmp_path / "c.pkl", {"smile": normal(3, 16), "frown": normal(1, 16)})
    refused("neither directions nor codes", import_directions, mixed, G, kind=DamagedFileError)
    refused(r"\(1, 16\), \(3, 16\); all must be", import_directions, mixed, G, format="halcy", kind=DamagedFileError)


def test_a_checkpoint_is_neither_directions_nor_codes(tmp_path: Path) -> None:
    path = save(tmp_path / "g.pt", {"conv.weight": torch.zeros(4, 4, 3, 3), "conv.bias": torch.zeros(4)})
    refused(
        "neither directions nor codes: its names are conv.weight", import_directions, path, G, kind=DamagedFileError
    )
    refused("neither directions nor codes", read_codes, path, kind=DamagedFileError)


# ---- damaged and unsafe files


def test_python_objects_are_refused_with_what_to_do(tmp_path: Path) -> None:
    higan = save(tmp_path / "boundary.npy", np.array({"boundary": unit(1, 16), "meta_data": {}}, dtype=object))
    refused(r"HiGAN.*allow_pickle=True\)\[\(\)\]\['boundary'\]", import_directions, higan, G, kind=UnsafeFileError)
    refused("HiGAN", read_codes, higan, kind=UnsafeFileError)
    made = np.load(higan, allow_pickle=True)[()]["boundary"]  # the advice that the message gives
    assert only(import_directions(save(tmp_path / "new.npy", made), G)).vector.shape == (16,)
    inside = save(tmp_path / "a.npz", {"w": np.array([None, {}], dtype=object)})
    refused("Python objects", read_codes, inside, kind=UnsafeFileError)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", [".pkl", ".pt", ".npy"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "ran"
    tree: Any = {"smile": unit(3, 16), "x": Bomb(mark)}
    path = save(tmp_path / f"a{suffix}", np.array(tree, dtype=object) if suffix == ".npy" else tree)
    refused("refused|Python objects", import_directions, path, G, kind=UnsafeFileError)
    refused("refused|Python objects", read_codes, path, kind=UnsafeFileError)
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # the negative control: it is a bomb


def _png() -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"smile 0.1 0.2 and more of it\n", b"<!DOCTYPE html><html></html>", _png()])
@pytest.mark.parametrize("name", ["a.npy", "a.pt", "a.pkl", "a.npz"])
def test_text_pictures_and_empty_files_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(str(path), import_directions, path, G, kind=DamagedFileError)
    refused(str(path), read_codes, path, kind=DamagedFileError)


def test_truncated_and_lying_files_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.npy", unit(3, 16)).read_bytes()
    for cut in (3, 7, 9, 60, len(whole) - 4):
        (tmp_path / "cut.npy").write_bytes(whole[:cut])
        refused("cut.npy", import_directions, tmp_path / "cut.npy", G, kind=DamagedFileError)
    (tmp_path / "long.npy").write_bytes(whole + b"1234")
    refused("claims float32 numbers of shape", read_codes, tmp_path / "long.npy", kind=DamagedFileError)
    huge = whole.replace(b"'shape': (3, 16), }         ", b"'shape': (300000000, 16), }  "[: len(whole)])
    (tmp_path / "huge.npy").write_bytes(huge)
    refused("claims float32|damaged", read_codes, tmp_path / "huge.npy", kind=DamagedFileError)
    for name, values in (
        ("b.npz", {"w": normal(1, 3, 16)}),
        ("b.pt", torch.zeros(1, 3, 16)),
        ("b.pkl", {"a": unit(3, 16)}),
    ):
        data = save(tmp_path / name, values).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        refused(name, read_codes, tmp_path / name, kind=DamagedFileError)
    bad = bytearray(save(tmp_path / "c.npz", {"w": normal(1, 3, 16)}).read_bytes())
    bad[200] ^= 0xFF
    (tmp_path / "c.npz").write_bytes(bytes(bad))
    refused("w is damaged", read_codes, tmp_path / "c.npz", kind=DamagedFileError)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    refused("without arrays", read_codes, tmp_path / "d.npz", kind=DamagedFileError)
    refused("no such file", read_codes, tmp_path / "none.npy", kind=DamagedFileError)
    refused("a folder", read_codes, tmp_path, kind=DamagedFileError)
    text = save(tmp_path / "e.npy", np.array(["smile", "frown"]))
    refused("claims <U5", read_codes, text, kind=DamagedFileError)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt", "a.pkl"])
def test_any_changed_byte_is_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    values = normal(1, 3, 16)
    held = {".npy": values, ".npz": {"w": values}, ".pt": torch.from_numpy(values), ".pkl": {"smile": unit(3, 16)}}
    whole = save(tmp_path / name, held[Path(name).suffix]).read_bytes()
    rng, outcomes = np.random.default_rng(0), set()
    for _ in range(150):
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= int(rng.integers(1, 256))
        (tmp_path / name).write_bytes(bytes(changed))
        try:
            convert_file(tmp_path / name, tmp_path / "out.pt", generator=G)
            outcomes.add("read")
        except LatentEditError as error:
            assert "\n" not in str(error)
            outcomes.add("refused")
    assert "refused" in outcomes
