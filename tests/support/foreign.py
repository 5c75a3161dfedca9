"""Files as other projects write them, for the tests of formats."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conformance import arrays
from torch import Tensor
from toy import ToyGenerator

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.errors import LatentEditError


class Sized(ToyGenerator):
    """The toy generator with other sizes."""

    resolution = 4

    def __init__(self, dim: int, layers: int) -> None:
        self.dim, self.layers = dim, tuple(f"slot{i}" for i in range(layers))
        super().__init__()
        self._drawn: dict[object, Tensor] = {}

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """As the toy generator, remembered: drawing the seeds of sigma takes a second."""
        key = (tuple(seeds), label, truncation)
        if key not in self._drawn:
            self._drawn[key] = super().sample_codes(seeds, label=label, truncation=truncation)
        return self._drawn[key]


G = Sized(16, 3)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    values = normal(*shape, seed=seed).astype(np.float64)
    return (values / np.linalg.norm(values)).astype(np.float32)


def save(path: Path, values: Any) -> Path:
    """Write as the other projects do, by suffix."""
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **values)
    elif path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path)
    return path


def only(bank: DirectionBank) -> Direction:
    (direction,) = bank
    return direction


def refused(pattern: str, call: Any, *arguments: Any, kind: type = LatentEditError, **options: Any) -> None:
    with pytest.raises(kind, match=pattern) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)


def ganspace(estimator: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The file's arrays under the official names, and the 5000 codes that lat_stdev was measured on."""
    io_ = arrays("ganspace")
    prefix = f"out_compute_{estimator}_"
    held = {name.removeprefix(prefix): value for name, value in io_.items() if name.startswith(prefix)}
    w = io_["in_w_q"].astype(np.float32) / 32
    return held | {"random_stdevs": np.ones(10, np.float32)}, w[(2000 + np.arange(5000)) % 4000]
