"""Generators that are read from a file: what a family has to say, and the contract around its network.

A family is a module with one :class:`Family`, which recognises its files by the names and shapes of their
tensors and builds a :class:`~latentedit.generators.networks.base.Network`. Everything else of the contract is done
here, once, by :class:`FileGenerator`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from latentedit.checkpoints.forks import fork_of
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import match_content, per_slot, seed_latents, truncate, weights_id
from latentedit.generators.channels import ON_WHITE, check_channels, has_alpha, to_colours
from latentedit.generators.finding import Chosen, choose
from latentedit.generators.finding import Found as Found
from latentedit.generators.networks.base import Network, channels_last_pays
from latentedit.generators.showing import Shown
from latentedit.registry import check_options

OWN_DECODER = (
    "Tensors alone do not say how they are used: write a decoder of your own with its layers by "
    "latentedit.generators.vae.write_vae and load vae:FILE, or name your code that builds it and loads them, "
    "torch:module:factory"
)
MEAN_SEEDS = range(2**31, 2**31 + 4096)
"""Seeds of the codes whose mean truncation moves towards, where the file holds none."""


class FileGenerator(Shown):
    """A network that was read from a file, with the whole contract of a generator.

    Args:
        kind: the family's name.
        network: filled.
        tensors: the file's tensors of this network, under the file's names, and the options; they make the id.
        device: where pictures are computed.
        dtype: of the weights that compute them.
    """

    weights: str = ""
    """Which weights of its file they are, such as an average, where it might hold or holds others."""

    def __init__(
        self, kind: str, network: Network, tensors: Mapping[str, Tensor], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.kind, self.network = kind, network.eval().requires_grad_(False)
        self.id = weights_id(kind, tensors)
        self.parameters = sum(t.numel() for t in tensors.values())
        self.z_dim, self.dim, self.resolution = network.z_dim, network.dim, network.resolution
        self.picture_size = network.picture_size or (network.resolution, network.resolution)
        self.slots, self.labels = network.slots, network.labels
        self.notes = (*network.notes, *([ON_WHITE] if has_alpha(network.channels) else []))
        self.layers = tuple(slot.name for slot in network.slots)
        self.device, self.dtype = device, dtype
        self._style_weights = {name: w.detach().float().clone() for name, w in network.style_weights().items()}
        mapping = network.mapping
        self._mapping = copy.deepcopy(mapping).double() if isinstance(mapping, nn.Module) else mapping
        self._means: dict[int | None, Tensor] = {}
        if network.mean is not None:  # before it is rounded to another type: codes are the same in all of them
            self._means[None] = network.mean.detach().cpu().double()
        network.to(device, dtype)
        if network.channels_last and channels_last_pays(device, dtype):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, z_dim) to style codes (n, dim) float32, or (n, layers, dim) when ``truncation_layers`` is given.

        Args:
            z: standard normal.
            label: class from 0 on, for a conditional network; 0 when none is given.
            truncation: 1 for none, towards 0 for the mean code.
            truncation_layers: truncate only that many first slots.

        Raises:
            LatentEditError: z of another width, or a class that the network does not have.
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise LatentEditError(f"z has shape {tuple(z.shape)}; this generator takes (n, {self.z_dim})")
        codes = self._mapped(z, label)
        mean = self._mean(label) if truncation != 1.0 else codes[:1]
        return truncate(codes, mean, truncation, truncation_layers, len(self.layers)).float().to(self.device)

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Style codes (n, dim) float32 of seeds."""
        return self.map(seed_latents(seeds, self.z_dim), label=label, truncation=truncation)

    @torch.inference_mode()
    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, dim) or (n, layers, dim) to pictures (n, 3, H, W) float32, about [-1, 1], not clamped.

        Args:
            codes: style codes.
            content: of :meth:`content_of_label` for networks whose decoder takes a class; one row, or one per code.
            noise: "stored" for the file's constants, "none", or a seed; networks without noise inputs ignore it.
        """
        if not (noise in ("stored", "none") or (isinstance(noise, int) and not isinstance(noise, bool) and noise >= 0)):
            raise LatentEditError(f"noise is {noise!r}; give 'stored', 'none' or a seed")
        slots = per_slot(codes, len(self.layers), self.dim).to(self.device, self.dtype)
        content = self._content(content, len(slots))
        if not len(slots):
            return torch.zeros(0, 3, *self.picture_size, device=self.device)
        return to_colours(self.network.synthesis(slots, content, noise).float())

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, dim) by module name that style codes are multiplied with, raw, for SeFa."""
        return {name: w.clone() for name, w in self._style_weights.items()}

    def content_of_label(self, label: int) -> Tensor | None:
        """Content (1, labels) that decodes pictures of a class; None when classes are part of the codes.

        Raises:
            LatentEditError: there is no such class.
        """
        row = self._one_hot(label, 1)
        return None if row is None or not self.network.label_in_decoder else row.float().to(self.device)

    def _one_hot(self, label: int | None, n: int) -> Tensor | None:
        if not self.labels:
            if label is not None:
                raise LatentEditError(f"{self.id} has no classes; leave the label out (--label)")
            return None
        if label is not None and not 0 <= label < self.labels:
            raise LatentEditError(f"label is {label}; {self.id} has classes 0 to {self.labels - 1}")
        row = torch.zeros(n, self.labels, dtype=torch.float64)
        row[:, label or 0] = 1
        return row

    def _mapped(self, z: Tensor, label: int | None) -> Tensor:
        """z to codes (n, dim) float64 on the processor."""
        one_hot = self._one_hot(label, len(z))
        return self._mapping(z.cpu().double(), None if self.network.label_in_decoder else one_hot)

    def _mean(self, label: int | None) -> Tensor:
        """Mean code (dim,) float64: the file's, else of many seeds."""
        if None in self._means:
            return self._means[None]
        key = label or 0
        if key not in self._means:
            warnings.warn(
                f"{self.id} holds no mean code: truncation moves towards the mean of 4,096 seeds", stacklevel=3
            )
            self._means[key] = self._mapped(seed_latents(MEAN_SEEDS, self.z_dim), label).mean(0)
        return self._means[key]

    def _content(self, content: Tensor | None, n: int) -> Tensor | None:
        """Content on the device, one row per code."""
        if self.network.label_in_decoder and content is None:
            content = self.content_of_label(0)
        if content is None:
            return None
        if not self.network.label_in_decoder:
            raise LatentEditError(f"{self.id} makes pictures from codes alone; leave the content out (--content)")
        return match_content(content, n).to(self.device, self.dtype)


@dataclass(frozen=True)
class Family:
    """A kind of generator file; calling it loads one.

    Attributes:
        kind: name on the command line.
        title: what such a file is, in a few words.
        recognise: the generator's tensors in a file, or in a part of one, which it sees without what wraps it;
            None when it is of another family.
        build: a network filled with the tensors (float32), given that file or part and the options.
        options: option to what it means; others are refused.
        generator: the class that has the contract; image-to-image families have their own.
        average: how its files name the moving average of the weights, where they usually hold one.
    """

    kind: str
    title: str
    recognise: Callable[[Checkpoint], Found | None]
    build: Callable[[Found, Checkpoint, Mapping[str, str]], Network]
    options: Mapping[str, str] = field(default_factory=dict)
    generator: type[FileGenerator] = FileGenerator
    average: str = ""

    def __call__(
        self, argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype
    ) -> FileGenerator:
        """Load ``kind:argument?options``.

        Raises:
            LatentEditError: no file is named, an option that the family does not have, or the file is of
                another family.
            DamagedFileError: it cannot be read, or holds weights that are not finite.
        """
        if not argument:
            raise LatentEditError(f"{self.kind} needs a file, as in {self.kind}:PATH")
        self.check_options(options)
        return self.load(read_checkpoint(Path(argument)), options, device=device, dtype=dtype)

    def check_options(self, options: Mapping[str, str]) -> None:
        """Refuse options that the family does not have.

        Raises:
            LatentEditError: there is one.
        """
        check_options(self.kind, options, self.options)

    def find(self, checkpoint: Checkpoint) -> Chosen | None:
        """The part of a file that is taken for the generator; None when it is of another family."""
        return choose(self.recognise, checkpoint, self.average)

    def load(
        self, checkpoint: Checkpoint, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype
    ) -> FileGenerator:
        """The generator in a file that was read already."""
        chosen = self.find(checkpoint)
        if chosen is None:
            raise LatentEditError(f"{checkpoint.path}: not {self.title}; {_what_it_is(checkpoint, self.kind)}")
        tensors = {name: _real(tensor, name, checkpoint) for name, tensor in chosen.found.tensors.items()}
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise DamagedFileError(
                    f"{checkpoint.path}: weights {name} are not finite (NaN or infinity); training had failed, or the "
                    "file is damaged: take an earlier checkpoint"
                )
        try:
            network = self.build(Found(tensors, chosen.found.part), chosen.checkpoint, options)
        except (RuntimeError, KeyError, IndexError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else reason
            raise DamagedFileError(f"{checkpoint.path}: not whole as {self.title}: {reason}") from error
        check_channels(network.channels, checkpoint.path)
        for line in chosen.warnings:
            warnings.warn(f"{checkpoint.path}: {line}", stacklevel=2)
        # Options change what codes mean or what pictures look like, as other weights would.
        identity = tensors | {f"?{name}={value}": torch.zeros(0) for name, value in options.items()}
        generator = self.generator(self.kind, network, identity, device=device, dtype=dtype)
        generator.weights = chosen.weights
        return generator


def _real(tensor: Tensor, name: str, checkpoint: Checkpoint) -> Tensor:
    """A tensor in float32."""
    try:
        if not tensor.is_complex():
            return tensor.float()
    except NotImplementedError:  # 4-bit numbers and such
        pass
    kind = str(tensor.dtype).removeprefix("torch.")
    raise DamagedFileError(f"{checkpoint.path}: weights {name} are {kind}; save them as float32: network.float()")


def families() -> dict[str, Family]:
    """Every registered family by kind."""
    from latentedit.generators import GENERATORS

    found = {name: GENERATORS.get(name) for name in GENERATORS.names()}
    return {name: thing for name, thing in found.items() if isinstance(thing, Family)}


def family_of(checkpoint: Checkpoint) -> Family | None:
    """The family that recognises a file, or None."""
    return next((family for family in families().values() if family.find(checkpoint) is not None), None)


def unrecognised(checkpoint: Checkpoint) -> str:
    """What a file that no family recognises seems to be, and what to do, in a line."""
    if (fork := fork_of(checkpoint.state())) is not None:
        return f"no family of generators knows it: {fork}. {OWN_DECODER}"
    return checkpoint.diagnosis() or f"{checkpoint.seems_to_be()}. {OWN_DECODER}"


def _what_it_is(checkpoint: Checkpoint, asked: str) -> str:
    family = family_of(checkpoint)
    if family is not None:
        return f"it is {family.title}: write {family.kind}:{checkpoint.path}"
    return unrecognised(checkpoint)
