"""Random views of a picture: the training augmentations of GANs N' Roses, by which DFID makes contents.

Half of the copies (the default share of kornia, whose ``RandomAffine(degrees=(-20, 20), scale=(0.8, 1.2),
translate=(0.1, 0.1), shear=0.15)`` that network was trained with) are sheared by up to 0.15 degrees, scaled by 0.8 to
1.2 and turned by up to 20 degrees about the centre, then shifted by up to a tenth, with grey (0) around them. Every
copy is then enlarged by 286/256, cropped back at a random whole pixel, and mirrored half of the time. All is bilinear,
pixels being squares (``align_corners=False``). kornia's shear is in degrees, so it hardly shows; its shifts come out
S / (S - 1) as long as asked for, which is not imitated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentedit.errors import LatentEditError

DEGREES, SCALES, SHIFT, SHEAR = 20.0, (0.8, 1.2), 0.1, 0.15
ENLARGED = 286 / 256
AFFINE_SHARE = 0.5


def augment(picture: Tensor, copies: Sequence[int], *, seed: int = 0, index: int = 0) -> Tensor:
    """Random copies of a picture, of its size, device and dtype.

    Args:
        picture: (3, S, S) in [-1, 1].
        copies: numbers of the copies, from 0 on; copy k depends on ``seed``, ``index`` and k alone.
        seed, index: of the run, and of the picture in it, from 0 on.

    Returns:
        (len(copies), 3, S, S) in [-1, 1].

    Raises:
        LatentEditError: the picture is not a square of finite numbers, or a number is negative.
    """
    if picture.ndim != 3 or picture.shape[0] != 3 or picture.shape[1] != picture.shape[2] or not picture.numel():
        raise LatentEditError(f"a picture has shape {tuple(picture.shape)}; it must be a square, (3, S, S)")
    if not picture.is_floating_point() or not torch.isfinite(picture).all():
        raise LatentEditError(
            "a picture holds values that are no finite numbers in [-1, 1] (whole numbers, NaN, infinity)"
        )
    if min(seed, index, *copies, 0) < 0:
        raise LatentEditError(f"seed {seed}, picture {index} or a copy's number is negative; count them from 0 on")
    return torch.cat([picture.new_empty(0, *picture.shape), *(_copy(picture[None], seed, index, k) for k in copies)])


def _copy(picture: Tensor, seed: int, index: int, k: int) -> Tensor:
    """Copy k of a picture (1, 3, S, S)."""
    size = picture.shape[-1]
    large = round(size * ENLARGED)
    u = np.random.default_rng([seed, index, k]).random(9)
    if u[0] < AFFINE_SHARE:
        grid = F.affine_grid(affine(u[1:6])[None].to(picture), [1, 3, size, size], align_corners=False)
        picture = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    picture = F.interpolate(picture, (large, large), mode="bilinear", align_corners=False)
    top, left = (int(v * (large - size + 1)) for v in u[6:8])
    picture = picture[:, :, top : top + size, left : left + size]
    return picture.flip(3) if u[8] < 0.5 else picture


def affine(u: np.ndarray) -> Tensor:
    """The matrix (2, 3) float64 from places in a copy to places in the picture, both in [-1, 1], x first.

    It is the inverse of shift * scale * turn * shear, kornia's order.

    Args:
        u: five uniform numbers in [0, 1): turn, scale, shift to the right, shift downwards, shear; 0.5 leaves all but
            the scale in the middle of its range.
    """
    angle = math.radians(DEGREES * (2 * u[0] - 1))
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * u[1]
    shear = math.tan(math.radians(SHEAR * (2 * u[4] - 1)))
    turn = scale * np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    forward = np.eye(3)
    forward[:2, :2] = turn @ np.array([[1, -shear], [0, 1]])
    forward[:2, 2] = 2 * SHIFT * (2 * u[2:4] - 1)  # the picture is two wide in these units
    return torch.from_numpy(np.linalg.inv(forward)[:2])
