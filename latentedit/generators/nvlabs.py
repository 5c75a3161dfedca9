"""``nvlabs``: NVIDIA's own StyleGAN2-ADA and StyleGAN3 files, conditional or not.

T. Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020, and "Alias-Free
Generative Adversarial Networks", NeurIPS 2021; github.com/NVlabs/stylegan2-ada-pytorch (training/networks.py) and
github.com/NVlabs/stylegan3 (training/networks_stylegan2.py, training/networks_stylegan3.py). Their pickles keep
every module's attributes, from which comes what tensors do not tell; of a state dict alone, the official
configurations are assumed, and the network's notes say so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.checkpoints.trees import module_fields
from latentedit.checkpoints.unpickling import Inert, shown
from latentedit.errors import LatentEditError
from latentedit.generators.family import Family, Found
from latentedit.generators.networks.base import Network, Slot
from latentedit.generators.networks.stylegan2 import MAPPING_RATE, Tensors, stylegan2
from latentedit.generators.networks.stylegan3 import Settings, StyleGAN3

OPTIONS = {
    "conv_clamp": "every layer's output is cut to plus and minus this number, or none; 256 when the file does not say",
    "output_scale": "StyleGAN3: factor on the picture; 0.25 when the file does not say",
    "first_cutoff": "StyleGAN3: bandwidth of the Fourier features; 2 when the file does not say",
    "filter_size": "StyleGAN3: taps of a filter per sampling factor; 6 when the file does not say",
}
_STYLEGAN2 = ("synthesis.b4.const", "synthesis.b4.conv1.weight")
_STYLEGAN3 = ("synthesis.input.freqs", "synthesis.input.affine.weight")


def recognise(checkpoint: Checkpoint) -> Found | None:
    """A generator's weights, under their names in ``state_dict``."""
    tensors = checkpoint.state()
    return Found(tensors) if _is_generator(tensors) else None


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """StyleGAN2 or StyleGAN3, whichever the names tell."""
    modules = Modules(checkpoint.tree)
    is_3 = any(name in found.tensors for name in _STYLEGAN3)
    if not is_3 and (wrong := [name for name in options if name != "conv_clamp"]):
        raise LatentEditError(f"{checkpoint.path}: StyleGAN2, which has no {wrong[0]}; its options: conv_clamp")
    given = {name: _number(name, text) for name, text in options.items()}
    settings, notes = _settings(modules, given), _notes(found, modules, given, is_3)
    if is_3:
        network: Network = StyleGAN3(found.tensors, settings, notes)
        radial = any(name.endswith(".down_filter") and t.ndim == 2 for name, t in found.tensors.items())
        network.title = f"NVIDIA's StyleGAN3, configuration {'r' if radial else 't'}"
    else:
        _refuse_other_architectures(found.tensors, modules, checkpoint)
        network = _stylegan2(found.tensors, settings, notes)
        network.title = "NVIDIA's StyleGAN2-ADA"
    return network


class Modules:
    """Attributes and constructor arguments of a network that was pickled whole; empty for tensors alone."""

    def __init__(self, root: Any) -> None:
        self.by_name: dict[str, dict[str, Any]] = {}
        waiting = [("", root)]
        while waiting and len(self.by_name) < 10_000:
            name, thing = waiting.pop()
            if (fields := module_fields(thing)) is not None:
                self.by_name[name] = fields
                children = fields.get("_modules")
                if isinstance(children, Mapping):
                    waiting += [(f"{name}.{key}".strip("."), child) for key, child in list(children.items())[::-1]]
        arguments = _fields(self.by_name.get("", {}).get("_init_kwargs"))
        self.nested = "synthesis_kwargs" in arguments
        """The arguments are as in stylegan2-ada-pytorch; the stylegan3 repository has them flat."""
        self.arguments = {**arguments, **_fields(arguments.get("synthesis_kwargs"))}
        self.mapping_arguments = _fields(arguments.get("mapping_kwargs"))

    def get(self, attribute: str, within: str, default: Any) -> Any:
        """An attribute of the modules whose names match, or else a default.

        Raises:
            ValueError: the modules do not agree.
        """
        found = [m[attribute] for n, m in self.by_name.items() if attribute in m and re.fullmatch(within, n)]
        if other := [value for value in found if value != found[0]]:
            both = " and ".join(shown(str(value)) for value in (found[0], other[0]))
            raise ValueError(f"its layers have different {attribute}: {both}")
        return found[0] if found else default


def _settings(modules: Modules, given: Mapping[str, Any]) -> Settings:
    """What a file tells besides its tensors, or the user instead of it; attributes before arguments, as NVIDIA does."""
    default, arguments = Settings(), modules.arguments
    clamp = arguments.get("conv_clamp", None if modules.nested else default.conv_clamp)
    rate = modules.mapping_arguments.get("lr_multiplier", default.lr_multiplier)
    scale = arguments.get("output_scale", default.output_scale)
    cutoff = arguments.get("first_cutoff", default.first_cutoff)
    held = {
        "conv_clamp": modules.get("conv_clamp", r"synthesis\..*", clamp),
        "output_scale": modules.get("output_scale", "synthesis", scale),
        "first_cutoff": modules.get("bandwidth", r"synthesis\.input", cutoff),
        "filter_size": _filter_size(modules, default.filter_size),
        "lr_multiplier": modules.get("bias_gain", r"mapping\.fc\d+", rate),
    }
    for name, value in held.items():
        if not (_is_number(value) or (name == "conv_clamp" and value is None)):
            raise ValueError(f"its {name} is {shown(repr(value))}")
    return Settings(**{**held, **given})


def _filter_size(modules: Modules, default: int) -> Any:
    """Taps over factor, where a layer keeps both."""
    for fields in modules.by_name.values():
        for way in ("up", "down"):
            taps, factor = fields.get(f"{way}_taps"), fields.get(f"{way}_factor")
            if isinstance(taps, int) and isinstance(factor, int) and taps > 1 and factor > 1:
                return taps // factor
    size = modules.arguments.get("filter_size", default)
    return size if isinstance(size, int) else None


def _notes(found: Found, modules: Modules, given: Mapping[str, Any], is_3: bool) -> tuple[str, ...]:
    notes = []
    if not modules.by_name:
        assumed = [f"conv_clamp {Settings().conv_clamp:g}"]
        if is_3:
            default = Settings()
            assumed += [f"{name} {getattr(default, name):g}" for name in OPTIONS if name != "conv_clamp"]
        assumed = [text for text in assumed if text.split()[0] not in given]
        if assumed:
            notes.append(f"the file holds no constructor arguments; assumed as in official files: {', '.join(assumed)}")
    if "mapping.w_avg" not in found.tensors:
        notes.append("the file has no mapping.w_avg; truncation moves towards the mean of 4096 codes")
    return tuple(notes)


def _stylegan2(tensors: Mapping[str, Tensor], settings: Settings, notes: tuple[str, ...]) -> Network:
    blocks = _blocks(tensors)
    convolutions = [f"b{size}.conv{i}" for size in blocks for i in (0, 1) if (size, i) != (4, 0)]
    names = _renamed(tensors, blocks, convolutions)
    for name in names.values():
        if name not in tensors:
            raise ValueError(f"{name} is missing")
    _check_rest(tensors, {*names.values(), "mapping.w_avg"})
    ours = {target: tensors[name] for target, name in names.items()}
    for target, tensor in ours.items():
        if target.startswith("noises."):
            ours[target] = tensor[None, None]
        elif target.startswith("to_rgb") and target.endswith(".bias") and "modulation" not in target:
            ours[target] = tensor.reshape(1, -1, 1, 1)
        elif target.startswith("style."):
            ours[target] = tensor * (settings.lr_multiplier / MAPPING_RATE)
    styled = [*convolutions, f"b{blocks[-1]}.torgb"]
    styles = {f"synthesis.{layer}.affine": tensors[f"synthesis.{layer}.affine.weight"] for layer in styled}
    first = max(tensors["synthesis.b4.const"].shape[1:])  # 4, unless the constant is another one
    sizes = [int(layer[1:].partition(".")[0]) // 4 * first for layer in styled]
    slots = tuple(Slot(*of) for of in zip(styled, sizes, map(len, styles.values()), strict=True))
    try:
        return stylegan2(
            ours, style_weights=styles, slots=slots, mean=tensors.get("mapping.w_avg"),
            conv_clamp=settings.conv_clamp, notes=notes,
        )  # fmt: skip
    except ValueError as error:  # it names the tensor that is wrong, in its own way
        target = str(error).split()[0]
        raise ValueError(str(error).replace(target, names.get(target, target), 1)) from error


def _renamed(tensors: Mapping[str, Tensor], blocks: list[int], convolutions: list[str]) -> dict[str, str]:
    """rosinality's names to NVIDIA's; kernels, filters and the 1 in style biases are the same in both."""
    names = {"input.input": "synthesis.b4.const"}
    depth = Tensors(tensors).count(r"mapping\.fc(\d+)\.")
    for ours, theirs in (
        *((f"style.{i + 1}", f"mapping.fc{i}") for i in range(max(depth, 1))),
        ("embed", "mapping.embed"),
    ):
        if ours != "embed" or any(name.startswith(theirs) for name in tensors):
            names |= {f"{ours}.{part}": f"{theirs}.{part}" for part in ("weight", "bias")}
    noisy = any(name.endswith(".noise_strength") for name in tensors)
    for i, layer in enumerate(convolutions):
        ours, theirs = f"convs.{i - 1}" if i else "conv1", f"synthesis.{layer}"
        names |= _modulated(ours, theirs) | {f"{ours}.activate.bias": f"{theirs}.bias"}
        if noisy:
            names |= {f"{ours}.noise.weight": f"{theirs}.noise_strength", f"noises.noise_{i}": f"{theirs}.noise_const"}
        if layer.endswith("conv0") and f"{theirs}.resample_filter" in tensors:
            names[f"{ours}.conv.blur.kernel"] = f"{theirs}.resample_filter"
    for i, size in enumerate(blocks):
        ours, theirs = f"to_rgbs.{i - 1}" if i else "to_rgb1", f"synthesis.b{size}"
        names |= _modulated(ours, f"{theirs}.torgb") | {f"{ours}.bias": f"{theirs}.torgb.bias"}
        if i and f"{theirs}.resample_filter" in tensors:
            names[f"{ours}.upsample.kernel"] = f"{theirs}.resample_filter"
    return names


def _modulated(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.conv.weight": f"{theirs}.weight",
        f"{ours}.conv.modulation.weight": f"{theirs}.affine.weight",
        f"{ours}.conv.modulation.bias": f"{theirs}.affine.bias",
    }


def _check_rest(tensors: Mapping[str, Tensor], known: set[str]) -> None:
    """Raise for tensors that StyleGAN2 does not have."""
    rest = [name for name in tensors if name not in known and not name.endswith(".resample_filter")]
    if rest:
        raise ValueError(f"{rest[0]} is no part of StyleGAN2 ({len(rest)} such tensors)")


def _blocks(tensors: Mapping[str, Tensor]) -> list[int]:
    """Sizes of the blocks: 4, 8, ... without gaps."""
    sizes = sorted({int(m[1]) for m in (re.match(r"synthesis\.b(\d+)\.", name) for name in tensors) if m})
    wanted = [4 << i for i in range(len(sizes))]
    if len(sizes) < 2 or sizes != wanted:
        raise ValueError(f"blocks of sizes {sizes} where {wanted} belong")
    return sizes


def _refuse_other_architectures(tensors: Mapping[str, Tensor], modules: Modules, checkpoint: Checkpoint) -> None:
    activation = shown(str(modules.get("activation", r"synthesis\.b\d+\.conv\d", "lrelu")))
    if activation != "lrelu":
        raise LatentEditError(f"{checkpoint.path}: StyleGAN2 with activation {activation!r}; only 'lrelu' is supported")
    blocks = _blocks(tensors)
    architecture = shown(str(modules.get("architecture", r"synthesis\.b\d+", "skip")))
    if any(f"synthesis.b{size}.skip.weight" in tensors for size in blocks):
        architecture = "resnet"
    elif not any(f"synthesis.b{size}.torgb.weight" in tensors for size in blocks[:-1]):
        architecture = "orig"
    if architecture != "skip":
        raise LatentEditError(
            f"{checkpoint.path}: StyleGAN2 of architecture {architecture!r}, whose blocks do not each make a picture; "
            "only 'skip', the architecture of the published networks, is supported"
        )


def _is_generator(tensors: Mapping[str, Tensor]) -> bool:
    return any(name in tensors for name in _STYLEGAN2 + _STYLEGAN3)


def _fields(thing: Any) -> dict[str, Any]:
    """Entries of a dictionary, whatever class it is of."""
    if isinstance(thing, Mapping):
        return dict(thing)
    return thing.fields() if isinstance(thing, Inert) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _number(name: str, text: str) -> float | int | None:
    """An option's value."""
    if name == "conv_clamp" and text.lower() == "none":
        return None
    try:
        value: float = int(text) if name == "filter_size" else float(text)
    except ValueError:
        value = 0
    if not _is_number(value):
        allowed = "a number above 0, or none" if name == "conv_clamp" else "a number above 0"
        raise LatentEditError(f"{name} is {text!r}; give {allowed}")
    return value


FAMILY = Family(
    kind="nvlabs",
    title="a network of NVIDIA's StyleGAN2-ADA or StyleGAN3",
    recognise=recognise,
    build=build,
    options=OPTIONS,
    average="G_ema",
)
