"""Generators of a user's own: ``torch:package.module:factory?key=value``.

The factory returns any object; :class:`CustomGenerator` fills in what it lacks. Only ``dim`` and
``decode`` are required, and the defaults of the rest are those of a plain GAN, whose latent is its
style code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from latentedit.generators.base import Generator, match_content, per_slot, seed_latents, truncate, weights_id
from latentedit.registry import Supplied, build

_MEAN_SEEDS = range(2**31, 2**31 + 4096)
_LARGEST = 16.0  # a picture in [-1, 1] may overshoot, but one in [0, 255] is a mistake


class CustomGenerator:
    """A user's object with the whole contract of a generator.

    ==================  ==========================================================================================
    of the object       when it is missing
    ==================  ==========================================================================================
    ``decode``          required: codes to pictures (n, 3, H, W) or (n, 1, H, W). It always gets (n, dim) when
                        there is one slot and (n, layers, dim) when there are more, and those of ``content`` and
                        ``noise`` that its signature has
    ``dim``             ``latent_size``; one of the two is required
    ``z_dim``           ``dim``
    ``layers``          ``("w",)``
    ``id``              hash of its tensors; without any, of the factory's name and options
    ``resolution``      the longer side of the picture of seed 0
    ``map``             z is the code; else it gets z (n, z_dim) and those of ``label``, ``truncation`` and
                        ``truncation_layers`` that its signature has
    its ``truncation``  towards the mean of the codes of seeds 2**31 ... 2**31 + 4095
    ``sample_codes``    ``map`` of the seeds' z
    ``style_weights``   refused in a line that names the finders that do without
    ``encode``          absent
    ==================  ==========================================================================================

    Its modules are moved, frozen and switched to evaluation, and run without gradients.

    Raises:
        LatentEditError: the object lacks something, or its picture of seed 0 is not one.
    """

    def __init__(self, supplied: Supplied, *, device: torch.device, dtype: torch.dtype) -> None:
        self._supplied = supplied
        supplied.require("decode")
        size = supplied.get("latent_size")
        if supplied.get("dim", size) is None:
            raise supplied.error("it has no dim (or latent_size), the length of a style code")
        self.dim = supplied.count("dim", size)
        self.z_dim = supplied.count("z_dim", self.dim)
        self.layers = supplied.words("layers", ("w",))
        if self.z_dim != self.dim and not supplied.has("map") and not supplied.has("sample_codes"):
            raise supplied.error(f"z_dim is {self.z_dim} and dim {self.dim}; write map(z) that takes one to the other")
        self.id = supplied.text("id", "") if supplied.get("id") else weights_id("torch", supplied.tensors())
        supplied.settle(device, dtype)
        self._means: dict[tuple[str, int | None], Tensor] = {}
        self.resolution = self._try()

    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, z_dim) to style codes (n, dim), or (n, layers, dim) when ``truncation_layers`` is given."""
        if z.shape[1:] != (self.z_dim,):
            raise self._supplied.error(f"z has shape {tuple(z.shape)}; it takes (n, {self.z_dim})")
        return self._truncated("map", z, label, truncation, truncation_layers)

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Style codes (n, dim) float32 of seeds."""
        if self._supplied.has("sample_codes"):
            return self._truncated("sample_codes", list(seeds), label, truncation, None)
        return self.map(seed_latents(seeds, self.z_dim), label=label, truncation=truncation)

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, dim) or (n, layers, dim) to pictures (n, 3, H, W) float32, not clamped."""
        given = self._supplied.place(per_slot(codes, len(self.layers), self.dim))
        if not len(given):
            return torch.zeros(0, 3, self.resolution, self.resolution, device=given.device)
        if content is not None:
            if not self._supplied.takes("decode", "content"):
                raise self._supplied.error("its decode takes no content; leave the content out")
            content = self._supplied.place(match_content(content, len(codes)))
        pictures = self._supplied.call(
            "decode", given[:, 0] if len(self.layers) == 1 else given, content=content, noise=noise
        )
        meaning = f"({len(codes)}, 3, H, W) or ({len(codes)}, 1, H, W), one picture a code"
        pictures = self._supplied.tensor("decode", pictures, (len(codes), None, None, None), meaning)
        if pictures.shape[1] not in (1, 3):
            raise self._supplied.error(f"decode returned shape {tuple(pictures.shape)}; it must be {meaning}")
        return pictures.repeat(1, 3 // pictures.shape[1], 1, 1)

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, dim) by module name that style codes are multiplied with."""
        if not self._supplied.has("style_weights"):
            raise self._supplied.error(
                "SeFa reads the weights that style codes are multiplied with, so the object needs style_weights(); "
                "linear, lasso and svd do without"
            )
        found = self._supplied.call("style_weights")
        if not isinstance(found, Mapping) or not found:
            raise self._supplied.error("style_weights must return a dictionary of module name to weight")
        meaning = f"(m, {self.dim})"
        return {
            str(name): self._supplied.tensor("style_weights", value, (None, self.dim), meaning)
            for name, value in found.items()
        }

    def _try(self) -> int:
        """Resolution, from a picture that also shows whether sampling and decoding work."""
        picture = self.decode(self.sample_codes([0]))
        if (largest := float(picture.abs().max())) > _LARGEST:
            raise self._supplied.error(f"decode returned values up to {largest:.4g}; pictures are in [-1, 1]")
        return self._supplied.count("resolution", max(picture.shape[2:]))

    def _truncated(
        self, method: str, given: Any, label: int | None, truncation: float, truncation_layers: int | None
    ) -> Tensor:
        """Codes truncated by the object itself where it can, else here."""
        own_strength = truncation == 1.0 or self._supplied.takes(method, "truncation")
        own_layers = truncation_layers is None or self._supplied.takes(method, "truncation_layers")
        if own_strength and own_layers:
            return self._codes(method, given, label, truncation, truncation_layers)
        codes = self._codes(method, given, label)
        return truncate(codes, self._mean(method, label), truncation, truncation_layers, len(self.layers))

    def _codes(
        self,
        method: str,
        given: Any,
        label: int | None,
        truncation: float = 1.0,
        truncation_layers: int | None = None,
    ) -> Tensor:
        if label is not None and not self._supplied.takes(method, "label"):
            raise self._supplied.error(f"label {label} was asked for, and its {method} takes no label")
        if isinstance(given, Tensor):
            given = self._supplied.place(given)
        if not self._supplied.has(method):
            return given.float()
        codes = self._supplied.call(
            method, given, label=label, truncation=truncation, truncation_layers=truncation_layers
        )
        slots = () if truncation_layers is None else (len(self.layers),)
        shape = (len(given), *slots, self.dim)
        return self._supplied.tensor(method, codes, shape, f"{shape}, one code a row")

    def _mean(self, method: str, label: int | None) -> Tensor:
        if (method, label) not in self._means:
            given = seed_latents(_MEAN_SEEDS, self.z_dim) if method == "map" else list(_MEAN_SEEDS)
            self._means[method, label] = self._codes(method, given, label).mean(0)
        return self._means[method, label]


class CustomTranslator(CustomGenerator):
    """A user's image-to-image generator: its object has ``encode``."""

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, H, W) in [-1, 1] to content (n, ...) and style z (n, z_dim)."""
        found = self._supplied.call("encode", self._supplied.place(images))
        if not isinstance(found, tuple) or len(found) != 2:
            raise self._supplied.error("encode must return two tensors, content (n, ...) and style z (n, z_dim)")
        rows, meaning = len(images), f"({len(images)}, ...), one content a picture"
        axes = max(getattr(found[0], "ndim", 0) - 1, 1)
        content = self._supplied.tensor("encode", found[0], (rows, *[None] * axes), meaning)
        z = self._supplied.tensor("encode", found[1], (rows, self.z_dim), f"({rows}, {self.z_dim}) for the style z")
        return content, z


def load(argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype) -> Generator:
    """The generator that the factory ``package.module:name`` makes.

    Args:
        argument: ``package.module:name``.
        options: keyword arguments of the factory, all text.
        device: where its modules go.
        dtype: of its weights.

    Raises:
        LatentEditError: it cannot be imported or called, or is no generator.
    """
    supplied = build("generator", argument, options)
    kind = CustomTranslator if supplied.has("encode") else CustomGenerator
    return kind(supplied, device=device, dtype=dtype)
