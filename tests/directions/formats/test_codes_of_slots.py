"""A file of (slots, d): one face or as many; what is certain is taken in silence, what is not is said."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import ToyGenerator

from latentedit.directions.formats import codes_of_generator, convert_file, read_named_codes
from latentedit.editing.faces import Faces

G = ToyGenerator()
SLOTS, DIM = len(G.layers), G.dim
W = np.random.RandomState(0).standard_normal((SLOTS, DIM)).astype(np.float32)


def prepared(values: np.ndarray, tmp_path: Path) -> torch.Tensor:
    np.save(tmp_path / "face.npy", values)
    return Faces(codes=tmp_path / "face.npy").prepare(G).all_codes()


def test_a_code_for_each_slot_is_one_face_and_said(tmp_path: Path) -> None:
    assert SLOTS > 1
    with pytest.warns(UserWarning, match=rf"face.npy: {SLOTS} x {DIM} numbers are taken for one face.*--as faces"):
        codes = prepared(W, tmp_path)
    np.testing.assert_array_equal(codes.numpy(), W[None])
    with pytest.warns(UserWarning, match="one face"):
        assert Faces(codes=tmp_path / "face.npy").prepare(G).names == ("face",)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (W[None], W[None]),  # as e4e and NVIDIA's projector have it
        (W[None, None], W[None]),
        (W.reshape(1, -1), W[None]),
        (np.repeat(W[:1], SLOTS, 0), W[:1][None].repeat(SLOTS, 1)),  # one code in all slots
        (W[:, None], W),  # as many faces
        (W[:-1], W[:-1]),
        (np.concatenate([W, W]), np.concatenate([W, W])),
        (W[0], W[:1]),
        (W.astype(np.float64), None),
    ],
    ids=[
        "(1, slots, d)",
        "(1, 1, slots, d)",
        "flat",
        "the same in all",
        "(n, 1, d)",
        "fewer",
        "more",
        "(d,)",
        "64 bits",
    ],
)
def test_what_is_certain_is_not_said(values: np.ndarray, expected: np.ndarray | None, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error" if expected is not None else "ignore")
        codes = prepared(values, tmp_path)
    np.testing.assert_array_equal(codes.numpy(), W[None] if expected is None else expected)


def test_converted_as_faces_they_are_faces_everywhere(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", W)
    done = convert_file(tmp_path / "a.npy", tmp_path / "b.npy", rows="faces")
    assert done.holds == "codes" and done.shape == (SLOTS, 1, DIM)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codes = Faces(codes=tmp_path / "b.npy").prepare(G).all_codes()
    np.testing.assert_array_equal(codes.numpy(), W)


def test_conversion_for_a_generator_knows_one_face(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", W)
    with pytest.warns(UserWarning, match="one face"):
        done = convert_file(tmp_path / "a.npy", tmp_path / "w.npz", generator=G)
    assert done.shape == (1, SLOTS, DIM)
    np.testing.assert_array_equal(np.load(tmp_path / "w.npz")["w"], W[None])
    faces = convert_file(tmp_path / "a.npy", tmp_path / "f.npz", generator=G, rows="faces")
    assert faces.shape == (SLOTS, DIM) and np.load(tmp_path / "f.npz")["w"].shape == (SLOTS, SLOTS, DIM)


def test_a_generator_of_one_slot_is_never_asked(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", W[:1])
    names, codes = read_named_codes(tmp_path / "a.npy")
    assert codes_of_generator(names, codes, layers=1, dim=DIM, where="a")[1].shape == (1, DIM)
