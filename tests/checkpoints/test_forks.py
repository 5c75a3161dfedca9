"""Layouts of well-known projects that are not read: each is named, with what to do; none is taken for another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_networks import nvlabs, rosinality
from torch import nn

from latentedit.checkpoints.forks import fork_of
from latentedit.errors import LatentEditError
from latentedit.inspection import inspect_generator

FORKS = {
    "lucidrains": ("G.initial_block", "G.blocks.0.to_style1.weight", "G.blocks.0.to_rgb.conv.weight", "S.net.0.weight"),
    "FastGAN": ("init.init.0.weight_orig", "init.init.0.weight_u", "feat_8.1.weight_orig", "se_64.main.1.weight_orig"),
    "R3GAN": (
        "Model.MainLayers.0.TransitionLayer.Basis", "Model.MainLayers.0.Layers.0.LinearLayer1.Layer.weight",
        "Model.AggregationLayer.Layer.weight",
    ),
    "StyleGAN-XL": ("mapping.embed.weight", "mapping.embed_proj.weight", "synthesis.input.weight"),
    "the first": ("generator.progression.0.conv1.0.input", "generator.progression.0.adain1.style.linear.weight_orig"),
    "progressive GAN, as of rosinality": ("progression.0.conv.0.conv.weight_orig", "to_rgb.0.conv.weight"),
    "pytorch_GAN_zoo": ("scaleLayers.0.0.module.weight", "toRGBLayers.0.module.weight", "formatLayer.module.weight"),
    "StarGAN v2": ("from_rgb.weight", "encode.0.conv1.weight", "decode.0.norm1.fc.weight", "to_rgb.2.weight"),
    "BigGAN-PyTorch": ("shared.weight", "linear.weight", "blocks.0.0.bn1.gain.weight", "blocks.0.0.conv1.weight"),
    "pytorch-pretrained-BigGAN": ("generator.gen_z.weight_orig", "generator.layers.0.bn_0.scale.weight_orig"),
}  # fmt: skip


@pytest.mark.parametrize("fork", FORKS)
@pytest.mark.parametrize("wrapper", ["", "module.", "g_ema.module."])
def test_a_fork_is_named_with_what_to_do(fork: str, wrapper: str, tmp_path: Path) -> None:
    torch.save({f"{wrapper}{name}": torch.ones(4, 4) for name in FORKS[fork]}, tmp_path / "x.pt")
    with pytest.raises(LatentEditError) as caught:
        inspect_generator(str(tmp_path / "x.pt"))
    said = str(caught.value)
    assert fork in said and "whose layout is not read" in said and "torch:module:factory" in said
    assert not [other for other in FORKS if other != fork and other in said]


def test_weights_that_are_normalised_are_named(tmp_path: Path) -> None:
    old, new = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)
    nn.utils.spectral_norm(old)
    nn.utils.parametrizations.weight_norm(new)
    for layer in (old, new):
        torch.save({f"body.3.{name}": value for name, value in layer.state_dict().items()}, tmp_path / "x.pt")
        with pytest.raises(LatentEditError, match="spectral normalisation or another parametrization.*torch:module"):
            inspect_generator(str(tmp_path / "x.pt"))


def test_what_is_read_is_no_fork(tmp_path: Path) -> None:
    for make in (rosinality, nvlabs):
        assert fork_of(make()) is None
    torch.save({"a.weight": torch.ones(4, 4), "b.weight": torch.ones(4, 4)}, tmp_path / "x.pt")
    with pytest.raises(LatentEditError, match="no family of generators knows it; it holds .*torch:module:factory"):
        inspect_generator(str(tmp_path / "x.pt"))
