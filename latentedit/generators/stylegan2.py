"""``stylegan2``: files of rosinality/stylegan2-pytorch, converted (``g_ema``, ``latent_avg``) or trained.

Names, shapes and the selection for SeFa: github.com/rosinality/stylegan2-pytorch, ``model.py``, ``train.py``,
``convert_weight.py`` and ``closed_form_factorization.py``. Size, channels and depth come from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.generators.family import Family, Found
from latentedit.generators.networks.base import Network
from latentedit.generators.networks.stylegan2 import Tensors, stylegan2

NO_MEAN = "the file holds no mean code; truncation uses the mean of 4,096 seeds"
_ORDER = ("adain_bottleneck", "conv1", "to_rgb1", "convs")
_TELLTALES = ("input.input", "conv1.conv.weight")


def recognise(checkpoint: Checkpoint) -> Found | None:
    """A generator of that layout."""
    tensors = checkpoint.state()
    telling = all(name in tensors for name in _TELLTALES) and tensors["conv1.conv.weight"].ndim == 5
    return Found(tensors) if telling else None


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """A StyleGAN2 with the file's mean code, if it has one."""
    mean = checkpoint.nearest("latent_avg")
    dim = Tensors(found.tensors).take("conv1.conv.modulation.weight", -1, -1).shape[1]
    if mean is not None and mean.numel() != dim:
        raise ValueError(f"latent_avg has shape {tuple(mean.shape)}; ({dim},) is needed")
    return stylegan2(
        found.tensors,
        style_weights=modulation_weights(found.tensors),
        mean=None if mean is None else mean.reshape(dim).float(),
        notes=() if mean is not None else (NO_MEAN,),
    )


def modulation_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Modulation weights (channels, dim) by module name, in the official order, without those under ``to_rgbs``."""

    def order(name: str) -> tuple[int, list[int]]:
        return _ORDER.index(name.partition(".")[0]), [int(number) for number in re.findall(r"\d+", name)]

    chosen = [name for name in tensors if name.endswith("modulation.weight") and name.partition(".")[0] in _ORDER]
    return {name.removesuffix(".weight"): tensors[name] for name in sorted(chosen, key=order)}


FAMILY = Family("stylegan2", "a StyleGAN2 of rosinality/stylegan2-pytorch", recognise, build, average="g_ema")
