"""Pickles as NVIDIA's persistence writes them, without its code, and random state dicts of StyleGAN2-ADA."""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor


class Named:
    """A global of a pickle that nobody has to have installed."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        raise AssertionError("only its name is written")


class Writer(pickle._Pickler):
    """A pickler that writes :class:`Named` as the global that it names; the one in C cannot be changed so."""

    dispatch: ClassVar[dict[type, Any]] = {
        **pickle._Pickler.dispatch, Named: lambda self, named: self.save_named(named)
    }  # fmt: skip

    def save_named(self: Any, named: Named) -> None:
        self.write(pickle.GLOBAL + f"{named.module}\n{named.name}\n".encode())
        self.memoize(named)


RECONSTRUCT = Named("torch_utils.persistence", "_reconstruct_persistent_obj")


class Module:
    """A module as NVIDIA's persistence writes it."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        source = "raise SystemExit('run')"
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> Any:
        return RECONSTRUCT, (self.meta,)


def modules(tensors: Mapping[str, Tensor], arguments: Mapping[str, Any], attributes: Mapping[str, Any]) -> Module:
    """Nested modules of a state dict; ``attributes`` by the module's dotted name."""
    here: dict[str, dict[str, Tensor]] = {"parameters": {}, "buffers": {}}
    below: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        first, dot, rest = name.partition(".")
        if dot:
            below.setdefault(first, {})[rest] = tensor
        else:
            here["parameters" if name in ("weight", "bias") else "buffers"][name] = tensor
    children = {
        first: modules(
            held, {}, {k.partition(".")[2]: v for k, v in attributes.items() if k.partition(".")[0] == first}
        )
        for first, held in below.items()
    }
    own = attributes.get("", {})
    state = {
        "training": False, "_init_args": (), "_init_kwargs": dict(arguments), **own,
        "_parameters": OrderedDict((k, torch.nn.Parameter(v)) for k, v in here["parameters"].items()),
        "_buffers": OrderedDict(here["buffers"]), "_modules": OrderedDict(children),
    }  # fmt: skip
    return Module("Generator", state)


def write_pickle(
    path: Path, tensors: Mapping[str, Tensor], arguments: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None, key: str = "G_ema",
) -> Path:  # fmt: skip
    network = modules(tensors, arguments or {}, attributes or {})
    data = io.BytesIO()
    Writer(data, protocol=3).dump({"G": network, "D": None, "training_set_kwargs": None, key: network})
    path.write_bytes(data.getvalue())
    return path


def stylegan2_tensors(
    resolution: int = 16, *, channels: int = 8, dim: int = 12, z_dim: int = 10, depth: int = 2, labels: int = 0,
    colours: int = 3, noise: bool = True,
) -> dict[str, Tensor]:  # fmt: skip
    """A random state dict of stylegan2-ada-pytorch; channels halve from 16 px on."""
    random = torch.Generator().manual_seed(3)

    def fill(*shape: int, scale: float = 1.0, offset: float = 0.0) -> Tensor:
        return torch.randn(shape, generator=random) * scale + offset

    row = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    taps, found, inputs = torch.outer(row, row), {"synthesis.b4.const": fill(channels, 4, 4)}, channels
    for size in (4 << i for i in range(int(math.log2(resolution)) - 1)):
        outputs = max(2, channels * 8 // max(size, 8))
        found[f"synthesis.b{size}.resample_filter"] = taps
        for conv in ("conv0", "conv1") if size > 4 else ("conv1",):
            name = f"synthesis.b{size}.{conv}"
            found |= {f"{name}.weight": fill(outputs, inputs, 3, 3), f"{name}.bias": fill(outputs, scale=0.1)}
            if noise:
                found |= {f"{name}.noise_strength": fill(scale=0.1), f"{name}.noise_const": fill(size, size)}
            found |= {f"{name}.resample_filter": taps, f"{name}.affine.weight": fill(inputs, dim)}
            found[f"{name}.affine.bias"] = fill(inputs, scale=0.1, offset=1)
            inputs = outputs
        name = f"synthesis.b{size}.torgb"
        found |= {f"{name}.weight": fill(colours, inputs, 1, 1, scale=0.2), f"{name}.bias": fill(colours, scale=0.1)}
        found |= {f"{name}.affine.weight": fill(inputs, dim), f"{name}.affine.bias": fill(inputs, scale=0.1, offset=1)}
    if labels:
        found |= {"mapping.embed.weight": fill(dim, labels), "mapping.embed.bias": fill(dim, scale=0.1)}
    for i in range(depth):
        width = dim if i else z_dim + (dim if labels else 0)
        found |= {f"mapping.fc{i}.weight": fill(dim, width, scale=100), f"mapping.fc{i}.bias": fill(dim, scale=10)}
    return found | {"mapping.w_avg": fill(dim, scale=0.5)}
