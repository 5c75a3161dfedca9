"""Checkpoints of published generators, rebuilt from their manifests, and what the official code makes of them.

``fixtures/conformance/NAME/manifest.json`` says which code was run and describes every array.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import places
import rebuild
import torch
from torch import Tensor

FIXTURES = places.FIXTURES / "conformance"
TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2


def manifest(name: str) -> dict[str, Any]:
    """The manifest of a fixture."""
    return rebuild.load_manifest(FIXTURES / name)


def arrays(name: str) -> dict[str, np.ndarray]:
    """Inputs ``in_*`` and expected outputs ``out_*``."""
    return rebuild.load_arrays(manifest(name))


@lru_cache(maxsize=4)  # the largest takes more than a second and 185 MB
def _tensors(name: str) -> dict[str, Tensor]:
    return dict(rebuild.rebuild_state_dict(manifest(name), as_torch=True))


def state_dict(name: str) -> dict[str, Tensor]:
    """The generator's tensors in the official order, the caller's own."""
    return {key: tensor.clone() for key, tensor in _tensors(name).items()}


def checkpoint(name: str, folder: Path, *, half: bool = False) -> Path:
    """Write the checkpoint file as its own code would, optionally with weights in half precision."""
    path = folder / f"{name}{'-half' if half else ''}.pt"
    if not path.exists():
        tree = rebuild.rebuild_checkpoint(manifest(name), _tensors(name))
        torch.save(_halved(tree) if half else tree, path)
    return path


def _halved(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return tree.half() if tree.is_floating_point() else tree
    return {key: _halved(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def largest(got: Tensor, expected: np.ndarray) -> float:
    """Largest absolute difference; shapes must be equal."""
    assert tuple(got.shape) == expected.shape
    return float(np.abs(got.detach().cpu().numpy().astype(np.float64) - expected).max())
