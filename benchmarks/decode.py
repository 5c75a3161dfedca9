"""How fast do we decode, against the usual way of writing the same networks? Prints one table.

    python benchmarks/decode.py [--quick] [--batches 1 8 32] [--repeats 7] [--dtype float16] [--layout contiguous]

Both sides have the same random weights and take turns in one run; the ratio is of the medians. The usual way is that
of the published codes: weights per picture, convolutions in as many groups as there are pictures, doubling by a
transposed convolution and then a filter. The largest difference is between the two sides' pictures.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import log2, sqrt
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.generators import gnr, stylegan2
from latentedit.generators.family import Family, FileGenerator

Tensors = dict[str, Tensor]
DIM = 512
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


def channels(side: int, multiplier: int = 1) -> int:
    """Feature maps at a side, as in the published configurations."""
    return 512 if side <= 32 else 256 * 64 // side * multiplier


def random_styled(prefix: str, inputs: int, outputs: int, kernel: int, random: torch.Generator) -> Tensors:
    """A modulated convolution, of pictures where it has three outputs."""
    bias = f"{prefix}.activate.bias" if outputs != 3 else f"{prefix}.bias"
    return {
        f"{prefix}.conv.weight": torch.randn(1, outputs, inputs, kernel, kernel, generator=random),
        f"{prefix}.conv.modulation.weight": torch.randn(inputs, DIM, generator=random),
        f"{prefix}.conv.modulation.bias": 1 + 0.1 * torch.randn(inputs, generator=random),
        bias: 0.1 * torch.randn(*((outputs,) if outputs != 3 else (1, 3, 1, 1)), generator=random),
    }


def random_blocks(sides: list[int], multiplier: int, random: torch.Generator) -> Tensors:
    """``conv1``, ``to_rgb1`` at the first side, then a block for each of the others."""
    inputs = channels(sides[0], multiplier)
    tensors = random_styled("conv1", inputs, inputs, 3, random) | random_styled("to_rgb1", inputs, 3, 1, random)
    for k, side in enumerate(sides[1:]):
        outputs = channels(side, multiplier)
        tensors |= random_styled(f"convs.{2 * k}", inputs, outputs, 3, random)
        tensors |= random_styled(f"convs.{2 * k + 1}", outputs, outputs, 3, random)
        tensors |= random_styled(f"to_rgbs.{k}", outputs, 3, 1, random)
        inputs = outputs
    return tensors


def random_linear(prefix: str, inputs: int, outputs: int, random: torch.Generator, *, rate: float = 1.0) -> Tensors:
    """A linear layer whose stored weights were divided by its learning rate."""
    weight = torch.randn(outputs, inputs, generator=random) / rate
    return {f"{prefix}.weight": weight, f"{prefix}.bias": 0.1 * torch.randn(outputs, generator=random) / rate}


def random_stylegan2(size: int, *, multiplier: int = 2, depth: int = 8) -> Tensors:
    """A state dict in rosinality's layout, seeded."""
    random = torch.Generator().manual_seed(0)
    sides = [2**i for i in range(2, int(log2(size)) + 1)]
    tensors: Tensors = {"input.input": torch.randn(1, 512, 4, 4, generator=random)}
    for i in range(1, depth + 1):
        tensors |= random_linear(f"style.{i}", DIM, DIM, random, rate=0.01)
    tensors |= random_blocks(sides, multiplier, random)
    for i, name in enumerate(["conv1", *(f"convs.{k}" for k in range(2 * len(sides) - 2))]):
        side = sides[(i + 1) // 2]
        tensors[f"{name}.noise.weight"] = torch.full((1,), 0.1)
        tensors[f"noises.noise_{i}"] = torch.randn(1, 1, side, side, generator=random)
    return tensors


def random_conv(
    prefix: str, inputs: int, outputs: int, kernel: int, random: torch.Generator, *, at: int = 0
) -> Tensors:
    """A convolution of the encoder, whose parts count from ``at``; 1 where a blur comes first."""
    tensors = {
        f"{prefix}.{at}.weight": torch.randn(outputs, inputs, kernel, kernel, generator=random),
        f"{prefix}.{at + 1}.bias": 0.1 * torch.randn(outputs, generator=random),
    }
    if at:
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        tensors[f"{prefix}.0.kernel"] = torch.outer(row, row)
    return tensors


def random_encoder(sides: list[int], z_dim: int, residual: int, random: torch.Generator) -> Tensors:
    """GANs N' Roses' encoder, from the last side to the first, and its style branch from there to 4 pixels."""
    inputs = channels(sides[-1])
    tensors = random_conv("encoder.stem.0", 3, inputs, 1, random)
    for i, side in enumerate(sides[-2::-1], start=1):
        outputs = channels(side)
        tensors |= random_conv(f"encoder.stem.{i}.conv1", inputs, inputs, 3, random)
        tensors |= random_conv(f"encoder.stem.{i}.conv2", inputs, outputs, 3, random, at=1)
        skip = random_conv(f"encoder.stem.{i}.skip", inputs, outputs, 1, random, at=1)
        tensors |= {name: tensor for name, tensor in skip.items() if not name.endswith("bias")}
        inputs = outputs
    for i in range(len(sides), len(sides) + residual):
        for conv in ("conv1", "conv2"):
            tensors |= random_conv(f"encoder.stem.{i}.{conv}", inputs, inputs, 3, random)
    for i in range(2):
        tensors |= random_conv(f"encoder.content.{i}", inputs, inputs, 1, random)
    convs = int(log2(sides[0])) - 2
    for i in range(convs):
        tensors |= random_conv(f"encoder.style.{i}", inputs, 512, 3, random, at=1)
        inputs = 512
    tensors |= random_linear(f"encoder.style.{convs + 1}", inputs * 16, 512, random)
    return tensors | random_linear(f"encoder.style.{convs + 2}", 512, z_dim, random)


def random_gnr(size: int, *, num_down: int = 4, z_dim: int = 8, depth: int = 5, residual: int = 1) -> Tensors:
    """A state dict of ``G_A2B_ema``, seeded."""
    random = torch.Generator().manual_seed(1)
    sides = [size // 2**i for i in range(num_down, -1, -1)]
    tensors: Tensors = {}
    for i in range(depth):
        tensors |= random_linear(f"mapping.{i}", DIM if i else z_dim, DIM, random, rate=0.01)
    tensors |= random_encoder(sides, z_dim, residual, random)
    width = channels(sides[0])
    for i in range(residual):
        for conv in ("conv1", "conv2"):
            tensors |= random_styled(f"adain_bottleneck.{i}.{conv}", width, width, 3, random)
    return tensors | random_blocks(sides, 1, random)


class Usual:
    """The usual way to decode a state dict."""

    def __init__(self, tensors: Tensors) -> None:
        self.tensors = tensors
        row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4
        self.filter = torch.outer(row, row).to(tensors["conv1.conv.weight"])

    def convolve(self, x: Tensor, w: Tensor, name: str, *, upsample: bool = False, demodulate: bool = True) -> Tensor:
        """Modulate the weights, once per picture, and convolve each picture with its own."""
        weight = self.tensors[f"{name}.conv.weight"]
        affine, bias = (self.tensors[f"{name}.conv.modulation.{part}"] for part in ("weight", "bias"))
        (n, inputs, h, width), (_, outputs, _, side, _) = x.shape, weight.shape
        style = F.linear(w, affine / sqrt(affine.shape[1]), bias).view(n, 1, inputs, 1, 1)
        weight = weight / sqrt(inputs * side**2) * style
        if demodulate:
            weight = weight * torch.rsqrt(weight.square().sum([2, 3, 4], keepdim=True) + 1e-8)
        x = x.reshape(1, n * inputs, h, width)
        if upsample:
            weight = weight.transpose(1, 2).reshape(n * inputs, outputs, side, side)
            x = F.conv_transpose2d(x, weight, stride=2, groups=n)
            return self.filtered(x.view(n, outputs, 2 * h + 1, 2 * width + 1), (1, 1, 1, 1))
        x = F.conv2d(x, weight.view(n * outputs, inputs, side, side), padding=side // 2, groups=n)
        return x.view(n, outputs, h, width)

    def filtered(self, x: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
        """The filter of resampling, channel by channel."""
        kernel = self.filter.expand(x.shape[1], 1, 4, 4)
        return F.conv2d(F.pad(x, padding), kernel, groups=x.shape[1])

    def styled(self, x: Tensor, w: Tensor, name: str, *, upsample: bool = False, noise: Tensor | None = None) -> Tensor:
        """Convolution, noise, bias, activation."""
        x = self.convolve(x, w, name, upsample=upsample)
        if noise is not None:
            x = x + self.tensors[f"{name}.noise.weight"] * noise
        return F.leaky_relu(x + self.tensors[f"{name}.activate.bias"].view(1, -1, 1, 1), 0.2) * sqrt(2)

    def picture(self, x: Tensor, w: Tensor, name: str, before: Tensor | None) -> Tensor:
        """Pictures of a block, added to the doubled ones of the block before."""
        rgb = self.convolve(x, w, name, demodulate=False) + self.tensors[f"{name}.bias"]
        if before is None:
            return rgb
        n, c, h, width = before.shape
        spread = F.pad(before.view(n, c, h, 1, width, 1), (0, 1, 0, 0, 0, 1)).view(n, c, 2 * h, 2 * width)
        return rgb + self.filtered(spread, (2, 1, 2, 1))

    def __call__(self, w: Tensor, content: Tensor | None) -> Tensor:
        """Codes (n, 512), and content where the network takes it, to pictures."""
        x = (
            self.tensors["input.input"].expand(len(w), -1, -1, -1)
            if content is None
            else content.expand(len(w), -1, -1, -1)
        )
        i = 0
        while f"adain_bottleneck.{i}.conv1.conv.weight" in self.tensors:
            y = self.styled(x, w, f"adain_bottleneck.{i}.conv1")
            x, i = (self.styled(y, w, f"adain_bottleneck.{i}.conv2") + x) / sqrt(2), i + 1
        x = self.styled(x, w, "conv1", noise=self.tensors.get("noises.noise_0"))
        pictures, k = self.picture(x, w, "to_rgb1", None), 0
        while f"to_rgbs.{k}.bias" in self.tensors:
            for i in (2 * k, 2 * k + 1):
                noise = self.tensors.get(f"noises.noise_{i + 1}")
                x = self.styled(x, w, f"convs.{i}", upsample=i % 2 == 0, noise=noise)
            pictures, k = self.picture(x, w, f"to_rgbs.{k}", pictures), k + 1
        return pictures


def generator_of(
    family: Family, tensors: Tensors, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> FileGenerator:
    """What the family makes of a file with these tensors."""
    checkpoint = Checkpoint(Path("random.pt"), "torch zip", tensors)
    return family.load(checkpoint, {}, device=torch.device(device), dtype=dtype)


def devices() -> list[str]:
    """Those that this machine has."""
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return ["cpu", *(name for name, there in found.items() if there)]


def timed(work: Callable[[], Tensor], device: str) -> tuple[float, Tensor]:
    """Seconds that a piece of work takes, and what it makes."""
    wait = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)
    wait()
    start = time.perf_counter()
    made = work()
    wait()
    return time.perf_counter() - start, made


@torch.inference_mode()
def race(
    generator: FileGenerator, tensors: Tensors, batch: int, options: argparse.Namespace
) -> tuple[float, float, float]:
    """Median seconds of the usual way and of ours, and the largest difference of their pictures."""
    device, dtype = generator._device, getattr(torch, options.dtype)
    if options.layout:
        generator.network.to(memory_format=LAYOUTS[options.layout])  # type: ignore[call-overload]
    usual = Usual({name: tensor.to(device, dtype) for name, tensor in tensors.items()})
    codes, content = generator.sample_codes(range(batch)), None
    if isinstance(generator, gnr.GNRGenerator):
        picture = torch.rand(1, 3, generator.resolution, generator.resolution) * 2 - 1
        content = generator.encode(picture)[0].to(dtype)
    sides = (lambda: usual(codes.to(dtype), content), lambda: generator.decode(codes, content=content))
    times: tuple[list[float], list[float]] = ([], [])
    pictures = [timed(work, device.type)[1].float() for work in sides]
    for _ in range(options.repeats):
        for work, spent in zip(sides, times, strict=True):
            spent.append(timed(work, device.type)[0])
    return median(times[0]), median(times[1]), float((pictures[0] - pictures[1]).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--layout", choices=LAYOUTS, help="of ours in memory  [default: the generator's own]")
    parser.add_argument("--devices", nargs="+", default=devices())
    parser.add_argument("--quick", action="store_true", help="one repeat, batches 1 and 2, size 64: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.size, options.repeats, options.batches = 64, 1, [1, 2]
    layout = f", {options.layout}" if options.layout else ""
    title = f"{options.size} pixels, {options.dtype}{layout}, {options.repeats} repeats, torch {torch.__version__}"
    table = Table(
        "network", "device", "batch", "usual, ms a picture", "ours", "ratio", "largest difference", title=title
    )
    networks = (
        ("gnr", gnr.FAMILY, random_gnr(options.size)),
        ("stylegan2", stylegan2.FAMILY, random_stylegan2(options.size)),
    )
    for name, family, tensors in networks:
        for device in options.devices:
            generator = generator_of(family, tensors, device=device, dtype=getattr(torch, options.dtype))
            for batch in options.batches:
                usual, ours, difference = race(generator, tensors, batch, options)
                shown = (f"{usual / batch * 1e3:.1f}", f"{ours / batch * 1e3:.1f}", f"{usual / ours:.2f}")
                table.add_row(name, device, str(batch), *shown, f"{difference:.1e}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
