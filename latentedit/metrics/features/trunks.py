"""``alex:FILE``, ``vgg:FILE``, ``squeeze:FILE``: the networks of LPIPS, with its published linear heads.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018), version 0.1:
activations after the last ReLU of each stage of AlexNet, VGG16 and SqueezeNet 1.1, read from torchvision's files; the
heads are those that torchmetrics ships.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import weights_id
from latentedit.metrics.features.base import unit_range
from latentedit.registry import check_options

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of pictures in [-1, 1], by channel, as LPIPS prepares them."""


class Fire(nn.Module):
    """SqueezeNet's block (Iandola et al., 2016)."""

    def __init__(self, inner: int, squeezed: int, outer: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inner, squeezed, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(squeezed, outer, 1), nn.Conv2d(squeezed, outer, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


def _alex() -> list[nn.Module]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2)

    return [
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), pool(), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), pool(),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(),
    ]  # fmt: skip


def _vgg() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inner = 3
    for stage, (count, outer) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))):
        layers += [nn.MaxPool2d(2)] if stage else []
        for _ in range(count):
            layers += [nn.Conv2d(inner, outer, 3, padding=1), nn.ReLU()]
            inner = outer
    return layers


def _squeeze() -> list[nn.Module]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return [
        nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool(), Fire(64, 16, 64), Fire(128, 16, 64), pool(), Fire(128, 32, 128),
        Fire(256, 32, 128), pool(), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    ]  # fmt: skip


@dataclass(frozen=True)
class Trunk:
    """A network's layers, and the indices of those whose output is compared."""

    layers: Callable[[], list[nn.Module]]
    shown: tuple[int, ...]


TRUNKS: Mapping[str, Trunk] = {
    "alex": Trunk(_alex, (1, 4, 7, 9, 11)),
    "vgg": Trunk(_vgg, (3, 8, 15, 22, 29)),
    "squeeze": Trunk(_squeeze, (1, 4, 7, 9, 10, 11, 12)),
}


class TrunkFeatures:
    """A network of LPIPS; see :class:`latentedit.metrics.features.FeatureNetwork`. It has maps and no features."""

    dim = 0

    def __init__(
        self, name: str, layers: nn.Sequential, heads: list[Tensor], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        numbered = {f"head{i}": head for i, head in enumerate(heads)}
        self.name, self.id = name, weights_id(name, layers.state_dict() | numbered)
        self.device, self._dtype, self._heads = device, dtype, heads
        self.layers = layers.to(device, dtype).eval().requires_grad_(False)

    def features(self, images: Tensor) -> Tensor:
        """Refuses: it is a network of LPIPS.

        Raises:
            LatentEditError: always.
        """
        raise LatentEditError(f"{self.name} measures LPIPS; for FID take inception:FILE or efficientnet-lite0")

    @torch.inference_mode()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Pictures (n, 3, H, W) in [-1, 1], from 32 pixels a side on, to the activations that LPIPS compares."""
        if min(images.shape[-2:]) < 32:
            raise LatentEditError(
                f"pictures are {images.shape[-1]} x {images.shape[-2]} pixels; {self.name} needs 32 or more a side"
            )
        x = unit_range(images).to(self.device)
        x = ((x - x.new_tensor(SHIFT)[:, None, None]) / x.new_tensor(SCALE)[:, None, None]).to(self._dtype)
        found = []
        for i, layer in enumerate(self.layers):
            x = layer(x)
            if i in TRUNKS[self.name].shown:
                found.append(x.float())
        return found

    def weights(self) -> list[Tensor]:
        """The published heads, version 0.1, a layer each."""
        return self._heads


def load(
    name: str, argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype
) -> TrunkFeatures:
    """A network of LPIPS with torchvision's weights.

    Raises:
        DamagedFileError: the file is missing, or holds something else.
        LatentEditError: no file is named, or the heads are not installed.
    """
    check_options(name, options, {})
    if not argument:
        raise LatentEditError(f"{name} needs torchvision's weights of its network, as in {name}:FILE.pth")
    checkpoint, layers = read_checkpoint(Path(argument)), nn.Sequential(*TRUNKS[name].layers())
    own = layers.state_dict()
    state = checkpoint.state_with(f"features.{key}" for key in own)
    for key, value in own.items():
        if f"features.{key}" not in state or state[f"features.{key}"].shape != value.shape:
            raise DamagedFileError(
                f"{argument} does not hold torchvision's weights for {name} (features.{key} is missing or of another "
                f"shape); it seems to be {checkpoint.seems_to_be()}"
            )
    layers.load_state_dict({key: state[f"features.{key}"] for key in own})
    return TrunkFeatures(name, layers, _heads(name), device=device, dtype=dtype)


def _heads(name: str) -> list[Tensor]:
    found = importlib.util.find_spec("torchmetrics")
    if found is None or not found.submodule_search_locations:
        raise LatentEditError("LPIPS needs its published heads: pip install 'latentedit[metrics]'")
    folder = Path(next(iter(found.submodule_search_locations)))
    state = read_checkpoint(folder / "functional" / "image" / "lpips_models" / f"{name}.pth").state()
    return [state[f"lin{i}.model.1.weight"].float().flatten() for i in range(len(TRUNKS[name].shown))]


load_alex, load_vgg, load_squeeze = partial(load, "alex"), partial(load, "vgg"), partial(load, "squeeze")
