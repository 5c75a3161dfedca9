"""``avatar``: the bundled image-to-image generator of cartoon faces, 128 x 128.

Content is a pose (n, 4); style codes are 64-d and of unit covariance, one per slot if wanted. How it was trained:
``data/README.md``; its networks: :mod:`latentedit.generators.networks.avatar`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from latentedit.errors import LatentEditError
from latentedit.generators.base import match_content, per_slot, seed_latents, truncate, weights_id
from latentedit.generators.networks import avatar as network
from latentedit.generators.showing import Shown
from latentedit.shipped import shipped
from latentedit.tensorfile import load_weights, weight_names

UPRIGHT = (0.8, 0.0, 0.0, 0.0)
WEIGHTS = "data/avatar-generator.safetensors"


class AvatarNetworks(nn.Module):
    """All networks of the generator under the names that the weight file uses.

    Args:
        finish: the decoder has a finish.
        reader: a style is read by the smaller network.
    """

    mean_code: Tensor

    def __init__(self, *, finish: bool = True, reader: bool = True) -> None:
        super().__init__()
        self.flow = network.Flow()
        self.styler = network.Styler()
        self.decoder = network.Decoder(finish=finish)
        self.style_encoder = network.StyleReader() if reader else network.StyleEncoder()
        self.pose_encoder = network.PoseEncoder()
        self.register_buffer("mean_code", torch.zeros(network.W_DIM))

    @classmethod
    def of(cls, names: Collection[str]) -> AvatarNetworks:
        """Networks that take tensors of these names."""
        return cls(
            finish=any(name.startswith("decoder.finish.") for name in names),
            reader="style_encoder.whole.5.weight" in names,
        )

    def identity(self, upright: Tensor) -> Tensor:
        """The identity codes (n, 64) of upright pictures (n, 3, 144, 144)."""
        found = self.style_encoder(upright)
        return found if isinstance(self.style_encoder, network.StyleReader) else found[0]


class AvatarGenerator(Shown):
    """The bundled generator; fulfils :class:`latentedit.generators.Generator` and ``encode``."""

    z_dim = network.Z_DIM
    dim = network.W_DIM
    layers = network.Decoder.slots
    resolution = network.RESOLUTION

    def __init__(self, networks: AvatarNetworks, *, device: torch.device, dtype: torch.dtype) -> None:
        self.id = weights_id("avatar", networks.state_dict())
        self._flow, self._styler = (
            copy.deepcopy(part).to("cpu", torch.float64).requires_grad_(False)
            for part in (networks.flow, networks.styler)
        )
        convs = [*networks.decoder.convs, networks.decoder.to_rgb]
        # These decide codes and directions, which are the same whatever the pictures are computed in.
        self._style_weights = [conv.affine.weight.detach().to(device, torch.float32, copy=True) for conv in convs]
        self._mean = networks.mean_code.detach().to(device, torch.float32, copy=True)
        self.networks = networks.to(device, dtype).eval().requires_grad_(False)

    @property
    def default_contents(self) -> Path:
        """Folder of the bundled content pictures."""
        return shipped("data/contents")

    @property
    def default_test_contents(self) -> Path:
        """Folder of bundled content pictures that no sample has, to measure with."""
        return shipped("data/test-contents")

    @property
    def default_tagger(self) -> str:
        """Name of the tagger that ships for these pictures."""
        return "avatar"

    @property
    def default_judge(self) -> str:
        """Name of the independent tagger that ships for these pictures."""
        return "judge:avatar"

    @property
    def default_targets(self) -> Path:
        """Folder of bundled real pictures of the target domain, to compare with."""
        return shipped("data/targets")

    @property
    def device(self) -> torch.device:
        """Where pictures are computed."""
        return self.networks.mean_code.device

    @property
    def dtype(self) -> torch.dtype:
        """What they are computed in."""
        return self.networks.mean_code.dtype

    @torch.inference_mode()
    def map(
        self, z: Tensor, *, label: int | None = None, truncation: float = 1.0, truncation_layers: int | None = None
    ) -> Tensor:
        """z (n, 64) to style codes (n, 64) float32; (n, 7, 64) when ``truncation_layers`` is given.

        It runs in float64 on the CPU, so that a code depends neither on the batch nor on the device.

        Raises:
            LatentEditError: z of another width, or a label: this generator has none.
        """
        if label is not None:
            raise LatentEditError("the avatar generator has no labels; leave the label out (--label)")
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise LatentEditError(f"z has shape {tuple(z.shape)}; this generator takes (n, {self.z_dim})")
        codes = self._styler(self._flow(z.cpu().double())).float().to(self.device)
        return truncate(codes, self._mean, truncation, truncation_layers, len(self.layers))

    @torch.inference_mode()
    def map_quickly(self, z: Tensor, *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """As :meth:`map`, to five digits, in a third of the time: in the weights' own type on their device."""
        if label is not None:
            raise LatentEditError("the avatar generator has no labels; leave the label out (--label)")
        codes = self.networks.styler(self.networks.flow(z.to(self.device, self.dtype))).float()
        return truncate(codes, self._mean, truncation, None, len(self.layers))

    def sample_codes(self, seeds: Sequence[int], *, label: int | None = None, truncation: float = 1.0) -> Tensor:
        """Style codes (n, 64) float32 of seeds."""
        return self.map(seed_latents(seeds, self.z_dim), label=label, truncation=truncation)

    @torch.inference_mode()
    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        """Codes (n, 64) or (n, 7, 64) to pictures (n, 3, 128, 128) float32, about [-1, 1].

        Args:
            codes: style codes.
            content: poses (n, 4) or (1, 4) from :meth:`encode`; upright when none is given.
            noise: taken and ignored, as this generator has no noise inputs.
        """
        slots = per_slot(codes.to(self.device), len(self.layers), self.dim)
        pose = torch.tensor([UPRIGHT]) if content is None else content
        pose = match_content(pose.to(self.device, torch.float32), len(codes))
        upright = self.networks.decoder(slots.to(self.dtype)).float()
        return network.warp(upright, network.affine(pose), self.resolution)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, 3, 128, 128) in [-1, 1] to content (n, 4) and style z (n, 64), both float32.

        ``map`` of that z gives the style code which redraws the same face; it knows the faces of
        the art it was trained on, and answers any other picture with one of them.
        """
        images = images.to(self.device, self.dtype)
        pose = self.networks.pose_encoder(images).float()
        upright = network.warp(images.float(), network.invert(network.affine(pose)), network.CANONICAL)
        identity = self.networks.identity(upright.to(self.dtype))
        return pose, self._flow(identity.cpu().double(), backward=True).float().to(self.device)

    def style_weights(self) -> dict[str, Tensor]:
        """Weights (m, 64) of every slot's affine layer, in slot order."""
        return {name: weight.clone() for name, weight in zip(self.layers, self._style_weights, strict=True)}


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> AvatarGenerator:
    """The bundled generator, or one trained by ``scripts/avatar`` as ``avatar:FILE``.

    Raises:
        LatentEditError: options, of which it has none.
        DamagedFileError: the file is missing or is not its weights.
    """
    if options:
        raise LatentEditError(f"the avatar generator has no options; got {', '.join(options)}")
    path = Path(argument) if argument else shipped(WEIGHTS)
    networks = AvatarNetworks.of(weight_names(path))
    load_weights(networks, path, "the avatar generator")
    return AvatarGenerator(networks, device=device, dtype=dtype)
