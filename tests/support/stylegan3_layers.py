"""StyleGAN3's published layers, and state dicts of them filled with random numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.signal
import scipy.special
import torch
from torch import Tensor


class Spec(NamedTuple):
    """One layer of the published configuration; rates and cutoffs of its input and output."""

    name: str
    channels: tuple[int, int]
    sizes: tuple[int, int]
    rates: tuple[int, int]
    cutoffs: tuple[float, float]
    half_widths: tuple[float, float]
    critical: bool


def configuration(resolution: int, base: int = 32768, most: int = 512, layers: int = 14) -> list[Spec]:
    """Layers of Karras et al. 2021, section 3.2 and appendix D: cutoffs and stopbands in geometric progression."""
    exponents = np.minimum(np.arange(layers + 1) / (layers - 2), 1)
    last = resolution / 2
    cutoffs = 2 * (last / 2) ** exponents
    stopbands = 2**2.1 * (last * 2**0.3 / 2**2.1) ** exponents
    rates = 2 ** np.ceil(np.log2(np.minimum(stopbands * 2, resolution)))
    widths = np.maximum(stopbands, rates / 2) - cutoffs
    sizes = rates + 20
    sizes[-2:] = resolution
    channels = np.rint(np.minimum(base / 2 / cutoffs, most))
    channels[-1] = 3
    specs = []
    for i in range(layers + 1):
        j = max(i - 1, 0)
        specs.append(
            Spec(
                f"L{i}_{int(sizes[i])}_{int(channels[i])}", (int(channels[j]), int(channels[i])),
                (int(sizes[j]), int(sizes[i])), (int(rates[j]), int(rates[i])), (cutoffs[j], cutoffs[i]),
                (widths[j], widths[i]), i >= layers - 2,
            )
        )  # fmt: skip
    return specs


def lowpass(taps: int, cutoff: float, width: float, rate: float, *, radial: bool = False) -> Tensor:
    """Kaiser-windowed filter (taps,), or the jinc of the paper's appendix C (taps, taps)."""
    if not radial:
        return torch.from_numpy(scipy.signal.firwin(taps, cutoff, width=width, fs=rate)).float()
    x = (np.arange(taps) - (taps - 1) / 2) / rate
    r = np.hypot(x[:, None], x[None])
    window = np.kaiser(taps, scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(taps, width / (rate / 2))))
    jinc = scipy.special.j1(2 * np.pi * cutoff * r) / (np.pi * r) * np.outer(window, window)
    return torch.from_numpy(jinc / jinc.sum()).float()


def tensors_of(
    specs: list[Spec],
    *,
    radial: bool = False,
    dim: int = 16,
    z_dim: int = 16,
    depth: int = 2,
    labels: int = 0,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A state dict of a configuration, filled with random numbers; ``radial`` is configuration r."""
    random = torch.Generator().manual_seed(seed)

    def fill(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=random) * scale + offset

    first = specs[0].channels[0]
    found = {
        "synthesis.input.weight": fill(first, first), "synthesis.input.transform": torch.eye(3),
        "synthesis.input.freqs": fill(first, 2), "synthesis.input.phases": fill(first, scale=0.3),
        "synthesis.input.affine.weight": fill(4, dim, scale=0.1),
        "synthesis.input.affine.bias": fill(4, scale=0.1, offset=0.5),
    }  # fmt: skip
    for spec in specs:
        name, picture = f"synthesis.{spec.name}", spec is specs[-1]
        kernel = 1 if picture or radial else 3
        found[f"{name}.weight"] = fill(spec.channels[1], spec.channels[0], kernel, kernel)
        found[f"{name}.bias"] = fill(spec.channels[1], scale=0.1)
        found[f"{name}.magnitude_ema"] = fill(scale=0.05, offset=1.0)
        found[f"{name}.affine.weight"] = fill(spec.channels[0], dim)
        found[f"{name}.affine.bias"] = fill(spec.channels[0], scale=0.1, offset=1.0)
        if not picture:
            rate = 2 * max(spec.rates)
            up, down = rate // spec.rates[0], rate // spec.rates[1]
            found[f"{name}.up_filter"] = lowpass(6 * up, spec.cutoffs[0], 2 * spec.half_widths[0], rate)
            found[f"{name}.down_filter"] = lowpass(
                6 * down, spec.cutoffs[1], 2 * spec.half_widths[1], rate, radial=radial and not spec.critical
            )
    if labels:
        found |= {"mapping.embed.weight": fill(dim, labels), "mapping.embed.bias": fill(dim, scale=0.1)}
    for i in range(depth):
        width = dim if i else z_dim + (dim if labels else 0)
        found |= {f"mapping.fc{i}.weight": fill(dim, width, scale=100), f"mapping.fc{i}.bias": fill(dim, scale=10)}
    return found | {"mapping.w_avg": fill(dim, scale=0.5)}
