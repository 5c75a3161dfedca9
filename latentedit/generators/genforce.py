"""StyleGAN, StyleGAN2 and ProGAN in the PyTorch layouts of genforce: kind ``genforce``.

Read are the files of github.com/genforce/sefa and genforce/genforce (``generator_smooth``, else ``generator``, or
the bare state) and the older ones of genforce/interfacegan, whose tensors have other names. StyleGAN2 differs from
rosinality's layout in names, in flipped up-sampling kernels and in style biases stored without their 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import sqrt

from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.family import Family, Found
from latentedit.generators.networks import genforce as networks
from latentedit.generators.networks.base import Network, Slot
from latentedit.generators.networks.stylegan2 import stylegan2

_FUSED_SIDE = 128  # all released StyleGANs have transposed convolutions from this side on
_STYLED = re.compile(r"synthesis\.layer\d+\.style\.weight")
_PROGAN = re.compile(r"(layer\d+|output\d+)\.(weight|bias)|lod")
_OLD = (  # of genforce/interfacegan
    (re.compile(r"epilogue\.style_mod\.dense\."), "style."),
    (re.compile(r"epilogue\."), ""),
    (re.compile(r"\.(linear|conv)\.weight$"), ".weight"),
    (re.compile(r"\.wscale\.bias$"), ".bias"),
    (re.compile(r"\.first_layer$"), ".const"),
)


def recognise(checkpoint: Checkpoint) -> Found | None:
    """The generator's tensors of any of the three."""
    tensors = checkpoint.state()
    return Found(tensors) if _kind(_renamed(tensors)) is not None else None


def _kind(tensors: Mapping[str, Tensor]) -> str | None:
    """Which of the three it is, by tell-tale names."""
    if any(_STYLED.fullmatch(name) for name in tensors):
        if any(name.endswith(".noise_strength") for name in tensors):
            return "StyleGAN2"
        return "StyleGAN" if any(name.endswith(".apply_noise.weight") for name in tensors) else None
    outputs = [tensor for name, tensor in tensors.items() if re.fullmatch(r"output\d+\.weight", name)]
    one_by_one = bool(outputs) and all(tensor.shape[2:] == (1, 1) for tensor in outputs)
    return "ProGAN" if one_by_one and all(_PROGAN.fullmatch(name) for name in tensors) else None


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of genforce/interfacegan to those of genforce/sefa; others stay."""
    renamed = {}
    for name, tensor in tensors.items():
        new = name
        for pattern, replacement in _OLD:
            new = pattern.sub(replacement, new)
        if found := re.fullmatch(r"layer(\d+)\.(conv\.weight|wscale\.bias)", name):  # ProGAN, counted from 1
            new = f"layer{int(found[1]) - 1}.{found[2].rpartition('.')[2]}"
        if found := re.fullmatch(r"output_(\d+)x\1\.(weight|bias)", new):
            new = f"output{int(found[1]).bit_length() - 3}.{found[2]}"
        if new == name and _is_old_fused(name, tensors):
            tensor = tensor.permute(3, 2, 0, 1)
        renamed[new] = tensor
    return renamed


def _is_old_fused(name: str, tensors: Mapping[str, Tensor]) -> bool:
    """A kernel (3, 3, in, out) of genforce/interfacegan's transposed convolution."""
    layer = name.removesuffix(".weight")
    return name in tensors and layer != name and f"{layer}.epilogue.bias" in tensors and tensors[name].ndim == 4


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """The network of the kind that the names tell.

    Raises:
        DamagedFileError: a tensor is missing or has another shape.
        LatentEditError: a variant that is not read, and why.
    """
    tensors = _renamed(found.tensors)
    reader = _Reader(tensors, str(checkpoint.path))
    kind = _kind(tensors)
    if "labels" in options and kind != "ProGAN":
        raise LatentEditError(f"{checkpoint.path}: labels is for ProGAN, and this is {kind}; leave it out")
    if kind == "ProGAN":
        network = _progan(reader, found, options)
    else:
        reader.refuse_progressive("synthesis.lod")
        network = _stylegan(reader, found) if kind == "StyleGAN" else _stylegan2(reader)
    network.title = f"a {kind} in genforce's layout"
    return network


class _Reader:
    """The file's tensors, each checked for its shape."""

    def __init__(self, tensors: Mapping[str, Tensor], path: str) -> None:
        self.tensors, self.path = tensors, path

    def __call__(self, name: str, *shape: int | tuple[int, ...] | None) -> Tensor:
        if name not in self.tensors:
            raise DamagedFileError(f"{self.path}: {name} is missing; the file was not written whole, download it again")
        tensor = self.tensors[name]
        fits = len(shape) == tensor.ndim and all(
            want is None or got in (want if isinstance(want, tuple) else (want,))
            for got, want in zip(tensor.shape, shape, strict=True)
        )
        if shape and not fits:
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise DamagedFileError(f"{self.path}: {name} has shape {tuple(tensor.shape)}; it must be ({wanted})")
        return tensor

    def count(self, pattern: str) -> int:
        """One more than the largest number in names of the pattern."""
        return max((int(m[1]) + 1 for name in self.tensors if (m := re.match(pattern, name))), default=0)

    def depth(self, prefix: str) -> int:
        """Number of layers, two a resolution, by the names of layers and outputs."""
        return max(2 * self.count(rf"{prefix}output(\d+)\."), (self.count(rf"{prefix}layer(\d+)\.") + 1) // 2 * 2)

    def refuse_progressive(self, name: str) -> None:
        """Refuse a network that was still growing."""
        lod = float(self.tensors[name]) if name in self.tensors else 0.0
        if lod != 0:
            raise LatentEditError(f"{self.path}: {name} is {lod:g}: still growing; take a file of full size, {name} 0")


def _stylegan(reader: _Reader, found: Found) -> Network:
    depth, mapping_depth = reader.depth("synthesis."), reader.count(r"mapping\.dense(\d+)\.")
    if "synthesis.layer0.weight" in reader.tensors:
        raise LatentEditError(f"{reader.path}: its first layer takes the code instead of a constant, which is not read")
    if reader("truncation.w_avg").shape != reader(f"mapping.dense{mapping_depth - 1}.bias").shape or (
        reader("synthesis.layer0.style.weight").shape[1] != len(reader("truncation.w_avg"))
    ):
        raise LatentEditError(f"{reader.path}: its mapping gives a code per layer (repeat_w off), which is not read")
    old = {i for i in range(depth) if _is_old_fused(f"synthesis.layer{i}.weight", found.tensors)}
    fused = {i for i in range(2, depth, 2) if 4 * 2 ** (i // 2) >= _FUSED_SIDE}
    is_old = "synthesis.layer0.epilogue.bias" in found.tensors
    kernels = {i: f"synthesis.layer{i}.blur.kernel" for i in range(2, depth, 2)}
    blurs = {i: reader(name, None, 1, 3, 3) for i, name in kernels.items() if name in reader.tensors}
    network = networks.StyleGAN(
        reader, depth=depth, mapping_depth=mapping_depth, fused=old if is_old else fused, blurs=blurs,
        label_weight=reader.tensors.get("mapping.label_weight"),
    )  # fmt: skip
    if fused and not is_old:
        network.notes = (f"not in the file and assumed: transposed convolutions from {_FUSED_SIDE} pixels on",)
    return network


def _progan(reader: _Reader, found: Found, options: Mapping[str, str]) -> Network:
    reader.refuse_progressive("lod")
    inputs = reader("layer0.weight", None, None, 4, 4).shape[1]
    text = options.get("labels", "0")
    if not text.isdecimal() or not int(text) < inputs:
        raise LatentEditError(f"labels is {text!r}; layer0 has {inputs} inputs, so give 0 to {inputs - 1}")
    name = "layer0" if "layer0.weight" in found.tensors else "layer1"
    return networks.ProGAN(reader, depth=reader.depth(""), labels=int(text), name=name)


def _stylegan2(reader: _Reader) -> Network:
    depth = reader.depth("synthesis.") - 1  # the first resolution has one layer
    mapping_depth = reader.count(r"mapping\.dense(\d+)\.")
    outputs = reader.count(r"synthesis\.output(\d+)\.")
    if any(f"synthesis.output{j}.weight" not in reader.tensors for j in range(outputs)) or any(
        name.startswith("synthesis.skip_layer") for name in reader.tensors
    ):
        raise LatentEditError(f"{reader.path}: only the skip architecture is read, with an output per resolution")
    label_weight = reader.tensors.get("mapping.label_weight")
    dim = len(reader(f"mapping.dense{mapping_depth - 1}.bias"))
    styles = [*(f"layer{i}" for i in range(depth)), f"output{outputs - 1}"]
    longest = max(reader("synthesis.early_layer.const", 1, None, None, None).shape[2:])
    slots = tuple(Slot(name, longest * _factor(name), len(reader(f"synthesis.{name}.style.bias"))) for name in styles)
    modules = [f"synthesis.{name}.style" for name in styles]
    network = stylegan2(
        _as_rosinality(reader, depth, mapping_depth),
        style_weights={name: reader(f"{name}.weight", None, dim) for name in modules},
        slots=slots,
        mean=reader("truncation.w_avg", dim),
    )
    if label_weight is not None:
        network.mapping = mapping = networks.Mapping(reader, mapping_depth, 1.0, sqrt(2.0), label_weight)
        network.z_dim, network.labels = mapping.z_dim, len(label_weight)
    return network


def _factor(name: str) -> int:
    """How many times the constant's side feature maps of a layer have."""
    layer = int(name.removeprefix("layer").removeprefix("output"))
    return int(2 ** ((layer + 1) // 2 if name.startswith("layer") else layer))


def _as_rosinality(reader: _Reader, depth: int, mapping_depth: int) -> dict[str, Tensor]:
    """StyleGAN2's tensors under rosinality's names and in its orientation."""
    renamed = {"input.input": reader("synthesis.early_layer.const", 1, None, None, None)}
    height, width = renamed["input.input"].shape[2:]
    for i in range(mapping_depth):
        renamed[f"style.{i + 1}.weight"] = reader(f"mapping.dense{i}.weight", None, None)
        renamed[f"style.{i + 1}.bias"] = reader(f"mapping.dense{i}.bias", None)
    for i in range(depth):
        old, new = f"synthesis.layer{i}", "conv1" if i == 0 else f"convs.{i - 1}"
        weight = reader(f"{old}.weight", None, None, 3, 3)
        renamed[f"{new}.conv.weight"] = (weight.flip((2, 3)) if i % 2 else weight)[None]
        renamed |= _modulation(reader, old, new)
        renamed[f"{new}.noise.weight"] = reader(f"{old}.noise_strength").reshape(1)
        renamed[f"{new}.activate.bias"] = reader(f"{old}.bias", None)
        factor = _factor(f"layer{i}")
        renamed[f"noises.noise_{i}"] = reader(f"{old}.noise", 1, 1, factor * height, factor * width)
        if f"{old}.filter.kernel" in reader.tensors:
            renamed[f"{new}.conv.blur.kernel"] = reader(f"{old}.filter.kernel", 1, 1, 4, 4)[0, 0]
    for j in range((depth + 1) // 2):
        old, new = f"synthesis.output{j}", "to_rgb1" if j == 0 else f"to_rgbs.{j - 1}"
        renamed[f"{new}.conv.weight"] = reader(f"{old}.weight", None, None, 1, 1)[None]
        renamed |= _modulation(reader, old, new)
        renamed[f"{new}.bias"] = reader(f"{old}.bias", None).reshape(1, -1, 1, 1)
    return renamed


def _modulation(reader: _Reader, old: str, new: str) -> dict[str, Tensor]:
    return {
        f"{new}.conv.modulation.weight": reader(f"{old}.style.weight", None, None),
        f"{new}.conv.modulation.bias": reader(f"{old}.style.bias", None) + 1,
    }


FAMILY = Family(
    kind="genforce",
    title="a StyleGAN, StyleGAN2 or ProGAN in genforce's layout",
    recognise=recognise,
    build=build,
    options={"labels": "ProGAN: how many of the first layer's last inputs are a one-hot class"},
    average="generator_smooth",
)
