"""Channels of pictures: what networks make becomes three colours, and colours become what encoders take.

Grey is repeated. Where there is alpha, pictures are laid on white, as pictures that are read from files are: alpha is
taken to run over the same range as the colours, from -1, which is clear, to 1, and colours not to be multiplied by it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentedit.errors import LatentEditError

GREY, GREY_ALPHA, COLOURS, COLOURS_ALPHA = 1, 2, 3, 4
ALLOWED = "1 (grey), 2 (grey and alpha), 3 (colours) or 4 (colours and alpha)"
ON_WHITE = "its pictures have an alpha channel: they are laid on white, and alpha is taken to run from -1 (clear) to 1"


def check_channels(channels: int, who: object) -> None:
    """Refuse pictures that are neither grey nor of colours, before any work.

    Raises:
        LatentEditError: how many channels came, and what is allowed.
    """
    if channels not in (GREY, GREY_ALPHA, COLOURS, COLOURS_ALPHA):
        raise LatentEditError(
            f"{who}: it makes pictures of {channels} channels, which are no colours; allowed are {ALLOWED}. Where some "
            "are colours, choose these in a decode of your own: torch:package.module:factory, see docs/extending.md"
        )


def has_alpha(channels: int) -> bool:
    """Whether the last channel is alpha."""
    return channels in (GREY_ALPHA, COLOURS_ALPHA)


def to_colours(pictures: Tensor) -> Tensor:
    """Pictures (n, 1 to 4, H, W) about [-1, 1] to (n, 3, H, W)."""
    channels = pictures.shape[1]
    if has_alpha(channels):
        alpha = ((pictures[:, -1:] + 1) / 2).clamp(0, 1)
        pictures = pictures[:, :-1] * alpha + (1 - alpha)
    return pictures.expand(-1, COLOURS, -1, -1).contiguous() if pictures.shape[1] == 1 else pictures


def from_colours(pictures: Tensor, channels: int) -> Tensor:
    """Pictures (n, 1 or 3, H, W) in [-1, 1] to (n, channels, H, W): grey is the mean of the colours, alpha opaque."""
    if channels in (GREY, GREY_ALPHA):
        pictures = pictures.mean(1, keepdim=True)
    else:
        pictures = pictures.expand(-1, COLOURS, -1, -1)
    if not has_alpha(channels):
        return pictures
    return torch.cat([pictures, torch.ones_like(pictures[:, :1])], 1)
