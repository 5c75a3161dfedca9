"""Variational autoencoders in a documented layout, with no code in the file: kind ``vae``.

Kingma & Welling, "Auto-Encoding Variational Bayes" (2014): z ~ N(0, I) is the code, and the decoder draws it. The
file is safetensors with tensors ``decoder.0.weight``, ``decoder.0.bias``, ``decoder.3.weight``, ... as
``torch.nn.Sequential`` names them, ``encoder.*`` if there is one, and these metadata:

==========  ==========================================================================================================
format      ``latentedit-vae``
schema      ``1``
decoder     JSON list, one object a layer in order: ``{"layer": "conv_transpose2d", "stride": [2, 2], ...}``
encoder     the same; its output is (n, 2 z), mean and then log variance. May be absent
range       of the decoder's pictures and the encoder's: ``-1..1`` or ``0..1``
==========  ==========================================================================================================

Layers and their arguments are those of :data:`LAYERS`; widths are in the tensors. :func:`write_vae` writes one.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.channels import check_channels, from_colours
from latentedit.generators.family import Family, FileGenerator, Found
from latentedit.generators.networks.base import Network, Slot
from latentedit.generators.probe import look_at, warn_of
from latentedit.tensorfile import write_safetensors

FORMAT, SCHEMA = "latentedit-vae", 1
RANGES = ("-1..1", "0..1")
_LARGEST = 64  # of strides, paddings and factors: a damaged file must not ask for all memory there is
_CONVOLUTION = ("stride", "padding", "dilation", "groups")

LAYERS: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "linear": (nn.Linear, ()),
    "conv2d": (nn.Conv2d, _CONVOLUTION),
    "conv_transpose2d": (nn.ConvTranspose2d, (*_CONVOLUTION, "output_padding")),
    "batch_norm1d": (nn.BatchNorm1d, ("eps",)),
    "batch_norm2d": (nn.BatchNorm2d, ("eps",)),
    "relu": (nn.ReLU, ()),
    "leaky_relu": (nn.LeakyReLU, ("negative_slope",)),
    "elu": (nn.ELU, ("alpha",)),
    "gelu": (nn.GELU, ("approximate",)),
    "silu": (nn.SiLU, ()),
    "tanh": (nn.Tanh, ()),
    "sigmoid": (nn.Sigmoid, ()),
    "flatten": (nn.Flatten, ("start_dim", "end_dim")),
    "unflatten": (nn.Unflatten, ("dim", "unflattened_size")),
    "upsample": (nn.Upsample, ("scale_factor", "mode", "align_corners")),
}
"""Name in the file to the module of PyTorch and the arguments that tensors do not tell."""
_SILENT = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class VAE(Network):
    """A decoder, and perhaps an encoder.

    Args:
        decoder: (n, z) to pictures (n, channels, H, W) in the range.
        encoder: pictures to (n, 2 z), or None.
        zero_to_one: the range is 0..1 instead of -1..1.

    Raises:
        LatentEditError: they do not fit together, or the decoder gives no pictures.
    """

    def __init__(self, decoder: nn.Sequential, encoder: nn.Sequential | None, *, zero_to_one: bool) -> None:
        super().__init__()
        self.z_dim = self.dim = _inputs(decoder)
        self.mapping = _code
        self.mean = torch.zeros(self.dim)
        self.synthesis = Synthesis(decoder.eval(), zero_to_one=zero_to_one)
        with torch.inference_mode():
            shape = _run("decoder", decoder, torch.zeros(1, self.dim)).shape
        if len(shape) != 4:
            raise LatentEditError(f"its decoder gives {tuple(shape)}; pictures are (1, channels, height, width)")
        check_channels(shape[1], "its decoder")
        self.channels, self.picture_size, self.resolution = shape[1], (shape[2], shape[3]), max(shape[2:])
        self.encoder = None if encoder is None else encoder.eval()
        if encoder is not None:
            with torch.inference_mode():
                moments = _run("encoder", encoder, torch.zeros(shape)).shape
            if moments != (1, 2 * self.dim):
                wanted = (1, 2 * self.dim)
                raise LatentEditError(f"its encoder gives {tuple(moments)}; mean and log variance are {wanted}")
        name, weight = _first_weight(decoder, self.dim)
        self.slots = (Slot("z", 1, len(weight)),)
        self._rows = {name: weight}

    def style_weights(self) -> dict[str, Tensor]:
        """The first layer's weight as a matrix (outputs, z)."""
        return dict(self._rows)


class Synthesis(nn.Module):
    """Codes (n, 1, z) to pictures (n, channels, H, W) in [-1, 1]."""

    def __init__(self, decoder: nn.Sequential, *, zero_to_one: bool) -> None:
        super().__init__()
        self.decoder, self.zero_to_one = decoder, zero_to_one

    def forward(self, codes: Tensor, content: Tensor | None, noise: str | int) -> Tensor:
        pictures: Tensor = self.decoder(codes[:, 0])
        return pictures * 2 - 1 if self.zero_to_one else pictures


class VAEGenerator(FileGenerator):
    """A generator from a file, which also inverts pictures where the file has an encoder."""

    network: VAE

    def __init__(
        self, kind: str, network: Network, tensors: Mapping[str, Tensor], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__(kind, network, tensors, device=device, dtype=dtype)
        look = look_at(self)
        if look.lowest >= 0 and not look.alike:
            warnings.warn(
                f"{self.id}: none of {look.pictures} pictures has a value below 0, though its range is {self._range}; "
                "if that is 0..1, as of a decoder that ends in a sigmoid, write it with write_vae(..., range='0..1')",
                stacklevel=2,
            )
        warn_of(look, self.id)

    @property
    def _range(self) -> str:
        return RANGES[1 if self.network.synthesis.zero_to_one else 0]

    @torch.inference_mode()
    def invert(self, images: Tensor) -> Tensor:
        """Codes (n, dim) float32 of pictures (n, 3 or 1, H, W) in [-1, 1]: the mean that the encoder gives.

        Raises:
            LatentEditError: the file has no encoder, or the pictures are of another size.
        """
        network, (height, width) = self.network, self.picture_size
        if network.encoder is None:
            raise LatentEditError(f"{self.id} has no encoder; write one with write_vae(..., encoder=...)")
        if images.ndim != 4 or images.shape[1] not in (1, 3) or images.shape[2:] != (height, width):
            given = tuple(images.shape)
            raise LatentEditError(f"pictures have shape {given}; give (n, 3, {height}, {width}) in [-1, 1]")
        x = from_colours(images.to(self.device, self.dtype), network.channels)
        x = (x + 1) / 2 if network.synthesis.zero_to_one else x
        codes: Tensor = network.encoder(x)[:, : self.dim]
        return codes.float()


def write_vae(path: str | Path, decoder: nn.Sequential, *, encoder: nn.Sequential | None = None, range: str) -> None:
    """Write a variational autoencoder in this layout, atomically.

    Args:
        path: the file.
        decoder: z (n, z) to pictures (n, 1 to 4, height, width); the second and the fourth are alpha.
            Its first layer is linear, or an ``nn.Unflatten`` and a convolution. ``nn.Sequential`` may be nested;
            dropout and identity are left out.
        encoder: such pictures to mean and log variance (n, 2 z).
        range: of the pictures, "-1..1" or "0..1".

    A warning says when none of 64 pictures has a value below 0 although the range is "-1..1".

    Raises:
        LatentEditError: a module outside the vocabulary, by name; they do not fit together; or another range.
    """
    if range not in RANGES:
        raise LatentEditError(f"range is {range!r}; give {' or '.join(RANGES)}")
    tensors: dict[str, Tensor] = {}
    metadata = {"format": FORMAT, "schema": str(SCHEMA), "range": range}
    for part, network in (("decoder", decoder), ("encoder", encoder)):
        if network is not None:
            layers, states = _described(part, network)
            metadata[part] = json.dumps(layers)
            tensors |= states
    VAEGenerator("vae", _network(tensors, metadata), tensors, device=torch.device("cpu"), dtype=torch.float32)
    write_safetensors(path, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata)


def _described(part: str, network: nn.Sequential) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Layers for the metadata, and tensors by name."""
    names = {module: name for name, (module, _) in LAYERS.items()}
    layers: list[dict[str, Any]] = []
    tensors = {}
    for path, module in _leaves(part, network):
        if type(module) not in names:
            known = ", ".join(sorted(kind.__name__ for kind in names))
            raise LatentEditError(f"{path} is {type(module).__name__}; this layout has {known}")
        if getattr(module, "padding_mode", "zeros") != "zeros" or isinstance(getattr(module, "padding", 0), str):
            raise LatentEditError(f"{path} pads by {module.padding_mode}, {module.padding}; give zeros and numbers")
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.running_mean is None:
            raise LatentEditError(f"{path} has no running statistics; pictures would depend on their batch")
        if isinstance(module, nn.Upsample) and module.scale_factor is None:
            raise LatentEditError(f"{path} has a size; give a scale_factor")
        name = names[type(module)]
        arguments = {key: getattr(module, key) for key in LAYERS[name][1]}
        for key, tensor in module.state_dict().items():
            if key != "num_batches_tracked":
                tensors[f"{part}.{len(layers)}.{key}"] = tensor.detach().cpu().float().contiguous()
        layers.append({"layer": name, **arguments})
    return layers, tensors


def _leaves(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(module, nn.Sequential):
        return [leaf for name, child in module.named_children() for leaf in _leaves(f"{path}.{name}", child)]
    return [] if isinstance(module, _SILENT) else [(path, module)]


def recognise(checkpoint: Checkpoint) -> Found | None:
    """All tensors of a file whose metadata say that it is of this layout."""
    return Found(checkpoint.state()) if checkpoint.metadata.get("format") == FORMAT else None


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """The network that the metadata describe, filled.

    Raises:
        DamagedFileError: metadata or tensors are missing, of a newer schema or do not fit.
    """
    try:
        return _network(found.tensors, checkpoint.metadata)
    except LatentEditError as error:
        raise DamagedFileError(f"{checkpoint.path}: {error}") from error


def _network(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> VAE:
    if (schema := metadata.get("schema", "")) != str(SCHEMA):
        raise LatentEditError(f"schema {schema!r}; this latentedit reads {SCHEMA}: install a newer one")
    if metadata.get("range") not in RANGES:
        raise LatentEditError(f"range is {metadata.get('range')!r}; it must be {' or '.join(RANGES)}")
    if odd := [name for name in tensors if name.partition(".")[0] not in metadata]:
        raise LatentEditError(f"{odd[0]} belongs to no layer that its metadata list")
    decoder = _sequential("decoder", tensors, metadata)
    encoder = _sequential("encoder", tensors, metadata) if "encoder" in metadata else None
    return VAE(decoder, encoder, zero_to_one=metadata["range"] == "0..1")


def _sequential(part: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> nn.Sequential:
    """The part's layers, filled."""
    try:
        layers = json.loads(metadata.get(part, ""))
    except ValueError as error:
        raise LatentEditError(f"{part} in its metadata is no JSON list of layers") from error
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise LatentEditError(f"{part} in its metadata is no JSON list of layers")
    state = {name.removeprefix(f"{part}."): t for name, t in tensors.items() if name.startswith(f"{part}.")}
    modules = []
    for i, layer in enumerate(layers):
        own = {name.removeprefix(f"{i}."): t for name, t in state.items() if name.startswith(f"{i}.")}
        modules.append(_layer(f"{part}.{i}", layer, own))
    if odd := [name for name in state if not name.split(".")[0].isdecimal() or int(name.split(".")[0]) >= len(layers)]:
        raise LatentEditError(f"{part}.{odd[0]} belongs to no layer that its metadata list")
    return nn.Sequential(*modules)


def _layer(name: str, layer: Mapping[str, Any], tensors: dict[str, Tensor]) -> nn.Module:
    """One module, its widths read off its tensors."""
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in layer.items()}
    kind = arguments.pop("layer", None)
    if kind not in LAYERS:
        raise LatentEditError(f"{name} is a layer {kind!r}; known are {', '.join(LAYERS)}")
    module, known = LAYERS[kind]
    for key, value in arguments.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if key != "unflattened_size" and any(isinstance(x, (int, float)) and abs(x) > _LARGEST for x in numbers):
            raise LatentEditError(f"{name} has {key} {value}; numbers are at most {_LARGEST}")
    if unknown := sorted(set(arguments) - set(known)):
        raise LatentEditError(f"{name} has {', '.join(unknown)}; {kind} takes {', '.join(known) or 'nothing'}")
    try:
        with torch.device("meta"):  # takes no random numbers and no memory
            built = module(**_widths(kind, arguments, tensors), **arguments)
        if isinstance(built, (nn.BatchNorm1d, nn.BatchNorm2d)):
            tensors["num_batches_tracked"] = torch.tensor(0)
        built.load_state_dict(tensors, assign=True)
    except (KeyError, RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise LatentEditError(f"{name} is a {kind} with other or missing tensors: {reason}") from error
    return built


def _widths(kind: str, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments that the tensors tell."""
    if kind == "linear":
        outputs, inputs = tensors["weight"].shape
        return {"in_features": inputs, "out_features": outputs, "bias": "bias" in tensors}
    if kind in ("batch_norm1d", "batch_norm2d"):
        return {"num_features": len(tensors["running_mean"]), "affine": "weight" in tensors}
    if kind not in ("conv2d", "conv_transpose2d"):
        return {}
    a, b, *kernel = tensors["weight"].shape
    groups = arguments.get("groups", 1)
    inputs, outputs = (b * groups, a) if kind == "conv2d" else (a, b * groups)
    return {"in_channels": inputs, "out_channels": outputs, "kernel_size": tuple(kernel), "bias": "bias" in tensors}


def _inputs(decoder: nn.Sequential) -> int:
    """Numbers of z, as the decoder's first layer tells."""
    first = decoder[0] if len(decoder) else None
    if isinstance(first, nn.Linear):
        return first.in_features
    if isinstance(first, nn.Unflatten) and first.dim == 1:
        return int(torch.Size(first.unflattened_size).numel())
    kind = type(first).__name__ if first is not None else "missing"
    raise LatentEditError(f"its decoder's first layer is {kind}; it must be a linear or an unflatten of axis 1")


def _run(part: str, network: nn.Sequential, x: Tensor) -> Tensor:
    try:
        y: Tensor = network(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise LatentEditError(f"its {part} does not take {tuple(x.shape)}: {str(error).splitlines()[0]}") from error
    return y


def _first_weight(decoder: nn.Sequential, dim: int) -> tuple[str, Tensor]:
    """Name and matrix (outputs, z) of the first layer that has weights; a convolution's from its answer to each z."""
    for i, module in enumerate(decoder):
        if isinstance(module, nn.Linear):
            return f"decoder.{i}", module.weight.detach().clone()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            head = decoder[: i + 1]
            with torch.no_grad():
                rows = (head(torch.eye(dim)) - head(torch.zeros(1, dim))).flatten(1)
            return f"decoder.{i}", rows.T.contiguous()
    raise LatentEditError("its decoder has no linear layer or convolution")


def _code(z: Tensor, one_hot: Tensor | None) -> Tensor:
    return z


FAMILY = Family(
    kind="vae",
    title="a variational autoencoder in latentedit's layout (see latentedit.generators.vae)",
    recognise=recognise,
    build=build,
    generator=VAEGenerator,
)
