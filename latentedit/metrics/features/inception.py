"""``inception:FILE``: the network that FID is defined on.

InceptionV3 of the TensorFlow graph of 2015-12-05 (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017),
read from the weight file that torch-fidelity and pytorch-fid share. It differs from torchvision's: average pools leave
padding out, the last block pools by maximum. Pictures are prepared as torch-fidelity does: 8 bits, resized as
TensorFlow 1 did (pixel centres not aligned), (value - 128) / 128. pytorch-fid resizes and scales otherwise, so its
numbers are others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import weights_id
from latentedit.metrics.features.base import unit_range
from latentedit.pictures.images import quantised
from latentedit.registry import check_options

SIZE = 299
Kernel = int | tuple[int, int]


class Conv(nn.Module):
    """A convolution, its normalisation and ReLU."""

    def __init__(self, inner: int, outer: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outer, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv(x)))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class BlockA(nn.Module):
    """35 x 35."""

    def __init__(self, inner: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inner, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(inner, 48, 1), Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inner, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3, self.branch_pool = Conv(96, 96, 3, padding=1), Conv(inner, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        five = self.branch5x5_2(self.branch5x5_1(x))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(_average(x))], 1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inner, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inner, 64, 1), Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17, with convolutions of 1 x 7 and 7 x 1."""

    def __init__(self, inner: int, width: int) -> None:
        super().__init__()
        wide: tuple[Kernel, Kernel] = ((1, 7), (0, 3))
        tall: tuple[Kernel, Kernel] = ((7, 1), (3, 0))
        self.branch1x1 = Conv(inner, 192, 1)
        self.branch7x7_1 = Conv(inner, width, 1)
        self.branch7x7_2 = Conv(width, width, wide[0], padding=wide[1])
        self.branch7x7_3 = Conv(width, 192, tall[0], padding=tall[1])
        self.branch7x7dbl_1 = Conv(inner, width, 1)
        self.branch7x7dbl_2 = Conv(width, width, tall[0], padding=tall[1])
        self.branch7x7dbl_3 = Conv(width, width, wide[0], padding=wide[1])
        self.branch7x7dbl_4 = Conv(width, width, tall[0], padding=tall[1])
        self.branch7x7dbl_5 = Conv(width, 192, wide[0], padding=wide[1])
        self.branch_pool = Conv(inner, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_average(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(inner, 192, 1), Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(inner, 192, 1), Conv(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1), padding=(3, 0)), Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8; the last one pools by maximum."""

    def __init__(self, inner: int, *, maximum: bool) -> None:
        super().__init__()
        self.branch1x1 = Conv(inner, 320, 1)
        self.branch3x3_1 = Conv(inner, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = (
            Conv(384, 384, (1, 3), padding=(0, 1)),
            Conv(384, 384, (3, 1), padding=(1, 0)),
        )
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inner, 448, 1), Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Conv(inner, 192, 1)
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self.maximum else _average(x)
        parts = [
            self.branch1x1(x), self.branch3x3_2a(three), self.branch3x3_2b(three), self.branch3x3dbl_3a(double),
            self.branch3x3dbl_3b(double), self.branch_pool(pooled),
        ]  # fmt: skip
        return torch.cat(parts, 1)


class Inception(nn.Module):
    """Pictures (n, 3, 299, 299), normalised, to features (n, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2), Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80, 1), Conv(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maximum=False), BlockE(2048, maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


def resize_as_tensorflow(images: Tensor, size: int) -> Tensor:
    """Pictures (n, 3, H, W) float32 to (n, 3, size, size), bilinearly, as TensorFlow 1's ``resize_bilinear`` does.

    Output pixel i lies at ``i * H / size`` of the input; beyond the last row its value is repeated.
    """
    rows, columns = (_weights(images.shape[axis], size).to(images) for axis in (2, 3))
    return rows @ images @ columns.T


def _weights(length: int, size: int) -> Tensor:
    """(size, length) weights of the input for each output pixel."""
    place = torch.arange(size, dtype=torch.float32) * (length / size)
    low = place.floor().long().clamp(max=length - 1)
    high = (low + 1).clamp(max=length - 1)
    found = torch.zeros(size, length)
    found[torch.arange(size), low] += 1 - (place - low)
    found[torch.arange(size), high] += place - low
    return found


class InceptionFeatures:
    """The feature network of FID; see :class:`latentedit.metrics.features.FeatureNetwork`."""

    name, dim = "inception", 2048

    def __init__(self, network: Inception, *, device: torch.device, dtype: torch.dtype) -> None:
        self.id = weights_id(self.name, network.state_dict())
        self.device, self._dtype = device, dtype
        self.network = network.to(device, dtype).eval().requires_grad_(False)

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1], rounded to 8 bits first, to features (n, 2048) float32."""
        values = quantised(unit_range(images)).float().to(self.device)
        prepared = (resize_as_tensorflow(values, SIZE) - 128) / 128
        found: Tensor = self.network(prepared.to(self._dtype)).float()
        return found

    def maps(self, images: Tensor) -> list[Tensor]:
        """Refuses: there are no published heads over this network.

        Raises:
            LatentEditError: always.
        """
        raise LatentEditError(
            "inception measures FID; for LPIPS take alex:FILE, vgg:FILE, squeeze:FILE or efficientnet-lite0"
        )

    def weights(self) -> list[Tensor]:
        """None."""
        return []


def load(argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype) -> InceptionFeatures:
    """The network with the weights of a file.

    Raises:
        DamagedFileError: the file is missing, or holds something else.
        LatentEditError: no file is named.
    """
    check_options("inception", options, {})
    if not argument:
        raise LatentEditError(
            "inception needs the reference weights, as in inception:pt_inception-2015-12-05-6726825d.pth, "
            "which pytorch-fid and torch-fidelity publish"
        )
    checkpoint, network = read_checkpoint(Path(argument)), Inception()
    own = network.state_dict()
    state = checkpoint.state_with(key for key in own if not key.endswith("tracked"))
    wrong = [key for key, value in own.items() if not key.endswith("tracked") and
             (key not in state or state[key].shape != value.shape)]  # fmt: skip
    if wrong:
        raise DamagedFileError(
            f"{argument} does not hold FID's Inception ({wrong[0]} is missing or of another shape); "
            f"it seems to be {checkpoint.seems_to_be()}"
        )
    network.load_state_dict(own | {key: state[key] for key in own if key in state})
    return InceptionFeatures(network, device=device, dtype=dtype)
