"""Generators of a user's own: ``torch:package.module:factory?key=value``.

The factory returns any object; :class:`CustomGenerator` fills in what it lacks. Only ``dim`` and
``decode`` are required, and the defaults of the rest are those of a plain GAN, whose latent is its
style code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from latentedit.generators.base import Generator, match_content, per_slot, seed_latents, truncate, weights_id
from latentedit.generators.channels import ON_WHITE, from_colours, has_alpha, to_colours
from latentedit.generators.probe import look_at, warn_of
from latentedit.generators.showing import Shown
from latentedit.registry import Supplied, build

_MEAN_SEEDS = range(2**31, 2**31 + 4096)
_LARGEST = 16.0  # a picture in [-1, 1] may overshoot, but one in [0, 255] is a mistake
_RANGE = "range"  # the option of a name that says what the object's pictures lie in


class CustomGenerator(Shown):
    """A user's object with the whole contract of a generator.

    ==================  ==========================================================================================
    of the object       when it is missing
    ==================  ==========================================================================================
    ``decode``          required: codes to pictures (n, 3, H, W), or of 1, 2 or 4 channels, of which the second and the
                        fourth are alpha. It always gets (n, dim) when there is one slot and (n, layers, dim) when there
                        are more, and those of ``content`` and ``noise`` that its signature has
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
    ``pixel_range``     ``(-1, 1)``: what its pictures lie in, those that ``decode`` returns and ``encode`` takes. Where
                        neither the object nor ``range=0..1`` in the name says it, pictures without a value below 0
                        are asked about
    ==================  ==========================================================================================

    Its modules are moved, frozen and switched to evaluation, and run without gradients.

    Args:
        supplied: the object.
        device: where its modules go.
        dtype: of its weights.
        range: ``"LOW..HIGH"``, what its pictures lie in; None leaves it to ``pixel_range``.

    Attributes:
        name: as it was asked for.
        probe: see :mod:`latentedit.generators.probe`; None where the same code gives two pictures.

    Raises:
        LatentEditError: the object lacks something, its picture of seed 0 is not one, or its pictures seem to lie in
            [0, 1] and nobody says so.
    """

    def __init__(
        self, supplied: Supplied, *, device: torch.device, dtype: torch.dtype, range: str | None = None
    ) -> None:
        self._supplied = supplied
        self.name = supplied.name.removeprefix("generator ")
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
        stated = _range(supplied, range)
        self._low, self._high = stated or (-1.0, 1.0)
        self._means: dict[tuple[str, int | None], Tensor] = {}
        whole = dtype if dtype.itemsize >= 4 else torch.float32
        supplied.settle(device, whole)  # what is fewer bits would draw another probe
        self.resolution = self._try()
        self.probe = self._look(asks=stated is None)
        if dtype != whole:
            self._means.clear()
            supplied.settle(device, dtype)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of its pictures."""
        return (ON_WHITE,) if has_alpha(self.channels) else ()

    @property
    def device(self) -> torch.device:
        """Where its modules are."""
        return self._supplied.device

    @property
    def dtype(self) -> torch.dtype:
        """What they compute in."""
        return self._supplied.dtype

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
            return torch.zeros(0, 3, *self.picture_size, device=given.device)
        if content is not None:
            if not self._supplied.takes("decode", "content"):
                raise self._supplied.error("its decode takes no content; leave the content out (--content)")
            content = self._supplied.place(match_content(content, len(codes)))
        pictures = self._supplied.call(
            "decode", given[:, 0] if len(self.layers) == 1 else given, content=content, noise=noise
        )
        n = len(codes)
        meaning = f"({n}, 3, H, W) or ({n}, 1, H, W), one picture a code; one channel more is alpha"
        pictures = self._supplied.tensor("decode", pictures, (n, None, None, None), meaning)
        self.channels = pictures.shape[1]
        if not 1 <= self.channels <= 4:
            raise self._supplied.error(f"decode returned shape {tuple(pictures.shape)}; it must be {meaning}")
        if (self._low, self._high) != (-1.0, 1.0):
            pictures = (pictures - self._low) * (2 / (self._high - self._low)) - 1
        return to_colours(pictures)

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
        if float(picture.abs().max()) > _LARGEST:
            largest = float(self._own(picture).abs().max())
            raise self._supplied.error(
                f"decode returned values up to {largest:.4g}; pictures are in [{self._low:g}, {self._high:g}], and "
                f"another range is stated with {self._option('LOW..HIGH')} or pixel_range = (LOW, HIGH) on the object"
            )
        longer = max(picture.shape[2:])
        resolution = self._supplied.count("resolution", longer)
        height, width = (max(1, round(side * resolution / longer)) for side in picture.shape[2:])
        self.picture_size = height, width
        return resolution

    def _look(self, *, asks: bool) -> str | None:
        """The probe, from pictures that also show whether they are in the range that is taken for granted.

        Raises:
            LatentEditError: they seem to be in [0, 1], and nobody said what they are in.
        """
        look = look_at(self)
        if asks and look.lowest >= 0 and not look.alike:
            raise self._supplied.error(
                f"none of {look.pictures} decoded pictures has a value below 0, so they seem to lie in [0, 1] and not "
                f"in [-1, 1]; say which: {self._option('0..1')}, or pixel_range = (0, 1) on the object (else -1..1, or "
                "(-1, 1))"
            )
        warn_of(look, self._supplied.name)
        return look.probe

    def _option(self, value: str) -> str:
        """The generator's name with a range."""
        return f"{self.name}{'&' if '?' in self.name else '?'}{_RANGE}={value}"

    def _own(self, pictures: Tensor) -> Tensor:
        """Pictures in [-1, 1] in the range that is the object's own."""
        if (self._low, self._high) == (-1.0, 1.0):
            return pictures
        return (pictures + 1) * ((self._high - self._low) / 2) + self._low

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
        """Pictures (n, 3, H, W) in [-1, 1] to content (n, ...) and style z (n, z_dim).

        An object whose own pictures have an alpha channel is given one, opaque.
        """
        own = from_colours(images, self.channels) if has_alpha(self.channels) else images
        found = self._supplied.call("encode", self._supplied.place(self._own(own)))
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
        options: ``range``, and keyword arguments of the factory, all text.
        device: where its modules go.
        dtype: of its weights.

    Raises:
        LatentEditError: it cannot be imported or called, or is no generator.
    """
    supplied = build("generator", argument, options, own=(_RANGE,))
    kind = CustomTranslator if supplied.has("encode") else CustomGenerator
    return kind(supplied, device=device, dtype=dtype, range=options.get(_RANGE))


def _range(supplied: Supplied, text: str | None) -> tuple[float, float] | None:
    """What pictures lie in: by the text LOW..HIGH, else by the object's ``pixel_range``; None when neither says it."""
    value = supplied.get("pixel_range") if text is None else text.split("..")
    if value is None:
        return None
    name = "pixel_range" if text is None else f"{_RANGE} in its name"
    try:
        low, high = (float(end) for end in value)
    except (TypeError, ValueError):
        low, high = math.nan, math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        shown, example = (value, "(0, 1)") if text is None else (text, "0..1")
        raise supplied.error(f"{name} is {shown!r}; it must be two numbers such as {example}")
    return low, high
