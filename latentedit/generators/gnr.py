"""``gnr``: GANs N' Roses, selfies to anime faces; content from a picture, style from a code.

Files of github.com/mchong6/GANsNRoses: ``G_A2B_ema`` is the generator, and ``G_B2A_ema``, where a file has it, reads
styles of anime pictures (``inference_colab.ipynb``). Sizes and depths come from the shapes. A style code goes into
15 slots of the released network; the official code gives all of them the same one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.errors import LatentEditError
from latentedit.generators.base import match_content
from latentedit.generators.channels import check_channels, from_colours
from latentedit.generators.family import Family, FileGenerator, Found
from latentedit.generators.finding import choose
from latentedit.generators.networks.base import Network
from latentedit.generators.networks.gnr import Decoder, Encoder
from latentedit.generators.networks.stylegan2 import StyleMapping, Tensors, linear_layers
from latentedit.generators.stylegan2 import NO_MEAN, modulation_weights
from latentedit.pictures.images import list_pictures, read_picture
from latentedit.shipped import shipped

_STEM = "encoder.stem.0.0.weight"
_TELLTALES = ("mapping.0.weight", _STEM, "conv1.conv.weight", "to_rgb1.conv.weight")
_BACK = re.compile(r"(?i)([a-z]+_)?b2a(_|$)")  # names of the other direction
_REFERENCE_PARTS = ("G_B2A_ema", "G_B2A")


class GNR(Network):
    """The generator of a file, and the reader of reference pictures if the file has one."""

    synthesis: Decoder
    channels_last = True

    def __init__(self, found: Found, reference: Found | None) -> None:
        super().__init__()
        tensors = Tensors(found.tensors)
        layers = linear_layers(tensors.under("mapping."), first=0)
        self.mapping = StyleMapping(layers, normalise=False)
        self.encoder = Encoder(tensors.under("encoder."))
        self.reference = None if reference is None else Encoder(Tensors(reference.tensors, "encoder."))
        self.z_dim, self.dim = int(layers[0][0].shape[1]), int(layers[-1][0].shape[0])
        self.synthesis = Decoder(tensors, self.encoder.side, self.dim)
        self.slots, self.resolution = self.synthesis.slots, self.synthesis.slots[-1].resolution
        self.channels = self.synthesis.outputs
        for encoder in (self.encoder, self.reference):
            if encoder is not None:
                check_channels(encoder.inputs, "its encoder")
        if self.encoder.channels != self.synthesis.inputs or self.encoder.size != self.resolution:
            raise ValueError(
                f"the encoder makes {self.encoder.channels} channels of {self.encoder.size} x {self.encoder.size} "
                f"pictures, and the decoder {self.resolution} x {self.resolution} pictures of {self.synthesis.inputs}"
            )
        self._style_weights = modulation_weights(found.tensors)
        missing = "the file holds no G_B2A: styles cannot be read from reference pictures"
        self.notes = (NO_MEAN, *([missing] if reference is None else []))

    def style_weights(self) -> dict[str, Tensor]:
        """Modulation weights (channels, dim) by module name, without those under ``to_rgbs``."""
        return self._style_weights


class GNRGenerator(FileGenerator):
    """A generator of pictures from content and style codes."""

    network: GNR
    _first: Tensor | None = None

    @property
    def default_contents(self) -> Path:
        """Folder of the bundled content pictures."""
        return shipped("data/contents")

    @torch.inference_mode()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, size, size) in [-1, 1] to content (n, channels, side, side) and style z (n, z_dim), float32.

        The style z is that of the picture's own domain, selfies; :meth:`encode_reference` reads anime.

        Raises:
            LatentEditError: pictures of another size.
        """
        encoder = self.network.encoder
        content, z = encoder(from_colours(self._pictures(images), encoder.inputs))
        return content.float(), z.float()

    @torch.inference_mode()
    def encode_reference(self, images: Tensor) -> Tensor:
        """Anime pictures (n, 3, size, size) in [-1, 1] to style z (n, z_dim) float32; ``map`` makes codes of them.

        Raises:
            LatentEditError: pictures of another size, or the file lacks the generator that reads them.
        """
        images = self._pictures(images)
        reference = self.network.reference
        if reference is None:
            raise LatentEditError(
                f"{self.id} cannot read styles of reference pictures: its file lacks {' and '.join(_REFERENCE_PARTS)}, "
                "which files of training hold; take one of those"
            )
        z: Tensor = reference(from_colours(images, reference.inputs))[1]
        return z.float()

    def _pictures(self, images: Tensor) -> Tensor:
        size = self.resolution
        if images.shape[1:] != (3, size, size):
            raise LatentEditError(f"pictures have shape {tuple(images.shape)}; {self.id} takes (n, 3, {size}, {size})")
        return images.to(self.device, self.dtype)

    def _content(self, content: Tensor | None, n: int) -> Tensor:
        if content is None:
            if self._first is None:
                picture = read_picture(list_pictures(self.default_contents)[0], self.resolution)
                self._first = self.encode(picture[None])[0]
            content = self._first
        shape = (self.network.encoder.channels, self.network.encoder.side, self.network.encoder.side)
        if content.shape[1:] != shape:
            raise LatentEditError(
                f"content has shape {tuple(content.shape)}; {self.id} needs (n, {', '.join(map(str, shape))}) of encode"
            )
        return match_content(content, n).to(self.device, self.dtype)


def recognise(checkpoint: Checkpoint) -> Found | None:
    """The generator of selfies to anime."""
    tensors = checkpoint.state()
    return Found(tensors) if all(name in tensors for name in _TELLTALES) and not _is_back(checkpoint) else None


def _recognise_reference(checkpoint: Checkpoint) -> Found | None:
    """The generator of anime to selfies, or what has its encoder."""
    tensors = checkpoint.state()
    return Found(tensors) if _STEM in tensors and _is_back(checkpoint) else None


def _is_back(checkpoint: Checkpoint) -> bool:
    return checkpoint.part is not None and any(_BACK.match(step) for step in checkpoint.part.path)


def build(found: Found, checkpoint: Checkpoint, options: Mapping[str, str]) -> Network:
    """The networks, with the other direction's encoder where the file has it."""
    chosen = choose(_recognise_reference, checkpoint.whole or checkpoint)
    if chosen is None:
        return GNR(found, None)
    tensors = {name: t.float() for name, t in chosen.found.tensors.items() if name.startswith("encoder.")}
    return GNR(found, Found(tensors, chosen.found.part))


FAMILY = Family("gnr", "a generator of GANs N' Roses", recognise, build, generator=GNRGenerator, average="G_A2B_ema")
