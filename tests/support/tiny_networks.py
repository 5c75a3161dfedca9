"""State dictionaries of tiny generators with random numbers, a maker for each family that reads foreign files."""

from __future__ import annotations

from collections.abc import Callable

import torch
from nvlabs_files import stylegan2_tensors
from torch import Tensor, nn

State = dict[str, Tensor]


def rosinality(seed: int = 0, *, dim: int = 6, width: int = 4) -> State:
    """StyleGAN2 of rosinality's layout, 8 x 8 pixels."""
    shapes: dict[str, tuple[int, ...]] = {"style.1.weight": (dim, dim), "style.1.bias": (dim,)}
    shapes["input.input"] = (1, width, 4, 4)
    for name, kernel, out in (("conv1", 3, width), ("to_rgb1", 1, 3), ("convs.0", 3, width), ("convs.1", 3, width),
                              ("to_rgbs.0", 1, 3)):  # fmt: skip
        shapes[f"{name}.conv.weight"] = (1, out, width, kernel, kernel)
        if name == "convs.0":
            shapes["convs.0.conv.blur.kernel"] = (4, 4)
        shapes |= {f"{name}.conv.modulation.weight": (width, dim), f"{name}.conv.modulation.bias": (width,)}
        if kernel == 3:
            shapes |= {f"{name}.noise.weight": (1,), f"{name}.activate.bias": (width,)}
        else:
            shapes[f"{name}.bias"] = (1, 3, 1, 1)
    shapes |= {"to_rgbs.0.upsample.kernel": (4, 4), "noises.noise_0": (1, 1, 4, 4)}
    shapes |= {"noises.noise_1": (1, 1, 8, 8), "noises.noise_2": (1, 1, 8, 8)}
    return _filled(shapes, seed) | {
        name: torch.outer(*2 * (torch.tensor([1.0, 3, 3, 1]),)) / 16 for name in shapes if name.endswith("kernel")
    }


def nvlabs(seed: int = 0) -> State:
    """StyleGAN2 of NVIDIA's layout, 8 x 8 pixels."""
    return {name: t if name.endswith("filter") else t + seed for name, t in stylegan2_tensors(8, depth=1).items()}


def progan(seed: int = 0) -> State:
    """ProGAN of genforce's layout, 8 x 8 pixels."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (inputs, outputs) in enumerate(((5, 6), (6, 6), (6, 4), (4, 4))):
        kernel = 3 if i else 4
        shapes |= {f"layer{i}.weight": (outputs, inputs, kernel, kernel), f"layer{i}.bias": (outputs,)}
        if i % 2:
            shapes |= {f"output{i // 2}.weight": (3, outputs, 1, 1), f"output{i // 2}.bias": (3,)}
    return _filled(shapes, seed) | {"lod": torch.zeros(())}


def dcgan(seed: int = 0) -> State:
    """DCGAN, 8 x 8 pixels."""
    layers = [nn.ConvTranspose2d(6, 4, 4, 1, 0, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
    state = nn.Sequential(*layers, nn.ConvTranspose2d(4, 3, 4, 2, 1, bias=False)).state_dict()
    shapes = {f"main.{name}": tuple(t.shape) for name, t in state.items()}
    return {name: t.abs() if name.endswith("var") else t for name, t in _filled(shapes, seed).items()}


def discriminator(seed: int = 9) -> State:
    """What judges pictures of 8 x 8 pixels: convolutions down to one number."""
    shapes = {"main.0.weight": (4, 3, 4, 4), "main.2.weight": (8, 4, 4, 4), "main.5.weight": (1, 8, 4, 4)}
    return _filled(dict(shapes), seed)


def _filled(shapes: dict[str, tuple[int, ...]], seed: int) -> State:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


MAKERS: dict[str, Callable[[int], State]] = {
    "stylegan2": rosinality, "nvlabs": nvlabs, "genforce": progan, "dcgan": dcgan,
}  # fmt: skip
"""By kind; the argument is a seed."""
