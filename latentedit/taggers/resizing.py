"""Resizing as the published taggers do it, on batches of pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError


def area_resize(pictures: Tensor, height: int, width: int) -> Tensor:
    """Resize by exact box averages: a pixel is the mean of what it covers, parts of pixels by their share.

    This is what TensorFlow calls ``AREA``; torch's mode of that name has other boxes.

    Args:
        pictures: (n, c, H, W), any dtype.
        height, width: wanted; larger ones repeat pixels.

    Returns:
        (n, c, height, width) float32 on the pictures' device.
    """
    return _average(_average(pictures, 2, height), 3, width)


def fitted_size(height: int, width: int, target_height: int, target_width: int) -> tuple[int, int]:
    """Height and width of a picture made to fit into a frame with its proportions kept, enlarged if it is small.

    In float32 and with halves rounded to even numbers, as ``tf.image.resize(preserve_aspect_ratio=True)``.

    Raises:
        LatentEditError: it is so narrow that no pixel of a side would be left.
    """
    sides = np.array([height, width], np.float32)
    scale = (np.array([target_height, target_width], np.float32) / sides).min()
    new_height, new_width = (int(side) for side in np.rint(scale * sides))
    if not new_height or not new_width:
        raise LatentEditError(
            f"pictures are {width} x {height} pixels, so narrow that nothing of their short side is left when they "
            f"are made to fit {target_width} x {target_height}; crop them"
        )
    return new_height, new_width


def centre(pictures: Tensor, height: int, width: int) -> Tensor:
    """Move pictures to the middle of a larger frame; what is around them repeats their edges.

    An odd difference of the sizes moves by half a pixel, which makes each pixel the mean of two neighbours: linear
    interpolation, as DeepDanbooru's ``transform_and_pad_image`` does it.

    Args:
        pictures: (n, c, H, W), floating.
        height, width: of the frame.

    Returns:
        (n, c, height, width).
    """
    return _move(_move(pictures, 2, height), 3, width)


def _average(pictures: Tensor, axis: int, new: int) -> Tensor:
    """Box averages along an axis; one pass over the result for each pixel that a box touches."""
    old = pictures.shape[axis]
    if old == new:
        return pictures.float()
    places, weights = _boxes(old, new)
    along = [new if i == axis else 1 for i in range(4)]
    total: Tensor = torch.zeros((), device=pictures.device)
    for place, weight in zip(places.to(pictures.device), weights.to(pictures.device), strict=True):
        total = total + pictures.index_select(axis, place).float() * weight.view(along)
    return total


def _boxes(old: int, new: int) -> tuple[Tensor, Tensor]:
    """Pixels (k, new) that each new pixel may touch along an axis, and their shares (k, new), which add up to 1."""
    edges = torch.arange(new + 1, dtype=torch.float64) * (old / new)
    first = edges[:-1].floor().long()
    places = first + torch.arange(-(-old // new) + 1)[:, None]  # (k, new)
    covered = torch.minimum(edges[1:], places + 1.0) - torch.maximum(edges[:-1], places.double())
    shares = covered.clamp(min=0) * (places < old)
    return places.clamp(max=old - 1), (shares / shares.sum(0)).float()


def _move(pictures: Tensor, axis: int, new: int) -> Tensor:
    old = pictures.shape[axis]
    if old == new:
        return pictures
    wanted = torch.arange(new, device=pictures.device) - (new - old) / 2  # whole numbers, or all with a half
    below = pictures.index_select(axis, wanted.floor().long().clamp(0, old - 1))
    if (new - old) % 2 == 0:
        return below
    return (below + pictures.index_select(axis, wanted.ceil().long().clamp(0, old - 1))) / 2
