"""Random state dicts of small networks: genforce's layouts, and those of ``benchmarks.decode`` made narrow."""

from __future__ import annotations

import torch
from torch import Tensor


def small(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same of eight channels, and codes of eight numbers."""
    return {name: t[tuple(slice(8) if n > 32 else slice(None) for n in t.shape)] for name, t in tensors.items()}


def random_state(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    scale = {"mapping.dense": 100.0}  # as trained: stored weights are divided by the learning rate 0.01
    return {name: torch.randn(shape, generator=random) * scale.get(name[:13], 1.0) for name, shape in shapes.items()}


def stylegan_state(side: int, *, dim: int = 12, z_dim: int = 10, depth: int = 3, labels: int = 0) -> dict[str, Tensor]:
    layers = 2 * (side.bit_length() - 2)
    widths = [max(16 >> (i // 2), 3) for i in range(layers)]
    shapes: dict[str, tuple[int, ...]] = {"truncation.w_avg": (dim,), **mapping_shapes(z_dim, dim, depth, labels)}
    for i, width in enumerate(widths):
        name, here = f"synthesis.layer{i}", 4 * 2 ** (i // 2)
        shapes[f"{name}.bias"] = (width,)
        if i == 0:
            shapes[f"{name}.const"] = (1, width, 4, 4)
        else:
            shapes[f"{name}.weight"] = (width, widths[i - 1], 3, 3)
        shapes |= {f"{name}.apply_noise.weight": (width,), f"{name}.apply_noise.noise": (1, 1, here, here)}
        shapes |= {f"{name}.style.weight": (2 * width, dim), f"{name}.style.bias": (2 * width,)}
        if i % 2:
            shapes |= {f"synthesis.output{i // 2}.weight": (3, width, 1, 1), f"synthesis.output{i // 2}.bias": (3,)}
    return {**random_state(shapes), "synthesis.lod": torch.zeros(())}


def stylegan2_state(side: int, *, dim: int = 12, z_dim: int = 10, depth: int = 3, labels: int = 0) -> dict[str, Tensor]:
    layers = 2 * (side.bit_length() - 3) + 1
    widths = [max(16 >> ((i + 1) // 2), 3) for i in range(layers)]
    shapes: dict[str, tuple[int, ...]] = {"truncation.w_avg": (dim,), **mapping_shapes(z_dim, dim, depth, labels)}
    shapes["synthesis.early_layer.const"] = (1, 16, 4, 4)
    for i, width in enumerate(widths):
        name, here, inputs = f"synthesis.layer{i}", 4 * 2 ** ((i + 1) // 2), ([16] + widths)[i]
        shapes |= {f"{name}.weight": (width, inputs, 3, 3), f"{name}.bias": (width,), f"{name}.noise_strength": ()}
        shapes |= {f"{name}.noise": (1, 1, here, here)}
        shapes |= {f"{name}.style.weight": (inputs, dim), f"{name}.style.bias": (inputs,)}
        if i % 2 == 0:
            output = f"synthesis.output{i // 2}"
            shapes |= {f"{output}.weight": (3, width, 1, 1), f"{output}.bias": (3,)}
            shapes |= {f"{output}.style.weight": (width, dim), f"{output}.style.bias": (width,)}
    return random_state(shapes)


def mapping_shapes(z_dim: int, dim: int, depth: int, labels: int) -> dict[str, tuple[int, ...]]:
    widths = [z_dim * (2 if labels else 1), *[14] * (depth - 1), dim]
    shapes: dict[str, tuple[int, ...]] = {"mapping.label_weight": (labels, z_dim)} if labels else {}
    for i in range(depth):
        shapes |= {f"mapping.dense{i}.weight": (widths[i + 1], widths[i]), f"mapping.dense{i}.bias": (widths[i + 1],)}
    return shapes


def pggan_state(side: int, inputs: int = 10, *, fused: bool = False) -> dict[str, Tensor]:
    layers = 2 * (side.bit_length() - 2)
    widths = [inputs, *(max(16 >> (i // 2), 3) for i in range(layers))]
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(layers):
        kernel = 4 if i == 0 else 3
        pair = (widths[i], widths[i + 1]) if fused and i and i % 2 == 0 else (widths[i + 1], widths[i])
        shapes |= {f"layer{i}.weight": (*pair, kernel, kernel), f"layer{i}.bias": (widths[i + 1],)}
        if i % 2:
            shapes |= {f"output{i // 2}.weight": (3, widths[i + 1], 1, 1), f"output{i // 2}.bias": (3,)}
    return {**random_state(shapes), "lod": torch.zeros(())}
