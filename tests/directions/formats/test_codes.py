"""Codes and scores of other projects: read and written back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import arrays
from foreign import G, normal, refused, save

from latentedit.directions.formats import (
    read_codes,
    read_named_codes,
    read_scores,
    write_codes,
    write_scores,
)
from latentedit.errors import DamagedFileError


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
@pytest.mark.parametrize("shape", [(16,), (1, 16), (5, 16), (1, 3, 16), (5, 3, 16)])
def test_codes_come_and_go(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    values = normal(*shape)
    path = save(tmp_path / f"face{suffix}", values if suffix == ".npy" else torch.from_numpy(values))
    names, codes = read_named_codes(path)
    assert torch.equal(codes, read_codes(path)) and codes.dtype == torch.float32
    assert np.array_equal(codes.numpy(), values[None] if values.ndim == 1 else values)
    assert names == (("face",) if len(codes) == 1 else tuple(f"face-{i}" for i in range(5)))
    assert G.decode(codes).shape == (len(codes), 3, 4, 4)
    for other in (".npy", ".pt"):
        write_codes(codes.double(), tmp_path / f"back{other}")
        assert torch.equal(read_codes(tmp_path / f"back{other}"), codes)
    assert np.load(tmp_path / "back.npy").dtype == np.float32


def test_nvidias_projected_w(tmp_path: Path) -> None:
    values = normal(1, 3, 16)
    codes = read_codes(save(tmp_path / "projected_w.npz", {"w": values}))
    assert np.array_equal(codes.numpy(), values)
    write_codes(codes, tmp_path / "back.npz")
    assert list(np.load(tmp_path / "back.npz")) == ["w"] and np.array_equal(np.load(tmp_path / "back.npz")["w"], values)
    refused("name the generator", write_codes, codes[:, 0], tmp_path / "x.npz")
    write_codes(codes[:, 0], tmp_path / "x.npz", layers=3)
    assert np.array_equal(np.load(tmp_path / "x.npz")["w"], np.repeat(values[:, :1], 3, 1))


@pytest.mark.parametrize("shape", [(16,), (3, 16)])
def test_rosinalitys_projections(tmp_path: Path, shape: tuple[int, ...]) -> None:
    latents = [torch.from_numpy(normal(*shape, seed=i)) for i in range(2)]
    entry = {"img": torch.zeros(3, 4, 4), "noise": [torch.zeros(1, 1, 4, 4)]}
    tree = {f"faces/{name}.png": entry | {"latent": latent} for name, latent in zip("ab", latents, strict=True)}
    names, codes = read_named_codes(save(tmp_path / "p.pt", tree))
    assert names == ("a", "b") and torch.equal(codes, torch.stack(latents))
    names, codes = read_named_codes(save(tmp_path / "alone.pt", entry | {"latent": latents[0]}))
    assert names == ("alone",) and torch.equal(codes, latents[:1][0][None])
    tree["faces/c.png"] = entry | {"latent": torch.zeros(4)}
    refused("latents of shape", read_codes, save(tmp_path / "q.pt", tree), kind=DamagedFileError)


def test_bad_codes_and_scores_are_not_written(tmp_path: Path) -> None:
    refused("floating-point", write_codes, torch.zeros(2, 16, dtype=torch.int64), tmp_path / "x.npy")
    refused("not finite", write_codes, torch.full((2, 16), torch.nan), tmp_path / "x.npy")
    refused("shape", write_codes, torch.zeros(1, 2, 3, 16), tmp_path / "x.npy")
    refused("empty", write_codes, torch.zeros(0, 16), tmp_path / "x.npy")
    refused("written to .npy, .npz, .pt", write_codes, torch.zeros(2, 16), tmp_path / "x.safetensors")
    refused("read and not written", write_codes, torch.zeros(2, 16), tmp_path / "x.pt", format="projector")
    refused("is a format of directions", write_codes, torch.zeros(2, 16), tmp_path / "x.npy", format="npy")
    refused("give .n,. or .n, 1.", write_scores, torch.zeros(2, 2), tmp_path / "x.npy")
    assert not list(tmp_path.iterdir())


def test_interfacegan_scores(tmp_path: Path) -> None:
    scores = arrays("interfacegan")["in_scores"]
    got = read_scores(save(tmp_path / "scores.npy", scores))
    assert got.shape == (600,)
    np.testing.assert_allclose(got.numpy(), scores[:, 0], rtol=1e-6)
    write_scores(got, tmp_path / "back.npy")
    back = np.load(tmp_path / "back.npy")
    assert back.shape == (600, 1) and np.array_equal(back[:, 0], got.numpy())
    refused("scores are .n, 1.", read_scores, save(tmp_path / "w.npy", normal(4, 16)), kind=DamagedFileError)
