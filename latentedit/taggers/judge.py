"""``judge:FILE``: a classifier that ``latentedit train-judge`` trained; ``judge:avatar`` is the bundled one.

The 2022 study re-scored its edits with a ResNet-50 that it trained on labelled pictures of the target domain, so that
directions are not judged by the tagger that they were fitted with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.base import weights_id
from latentedit.lookalikes import named
from latentedit.registry import check_options
from latentedit.shipped import shipped
from latentedit.taggers.base import PictureTagger, eight_bits
from latentedit.taggers.networks.resnet import NETWORKS, ResidualNetwork

FORMAT = "latentedit.judge"
SCHEMA = 1
BUNDLED = "data/avatar-judge.safetensors"
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures in [0, 1], by channel: what published ResNet weights were trained with."""


def resized(pictures: Tensor, size: int) -> Tensor:
    """Pictures (n, 3, H, W) uint8 to (n, 3, size, size) float32 in [0, 1], bilinearly, smoothed when made smaller."""
    images = pictures.float() / 255
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def normalised(images: Tensor) -> Tensor:
    """Pictures (n, 3, H, W) in [0, 1] to what the networks take."""
    return (images - images.new_tensor(MEAN)[:, None, None]) / images.new_tensor(DEVIATION)[:, None, None]


class Judge(PictureTagger):
    """A residual network with a sigmoid for each tag.

    Args:
        network: its logits are scores after a sigmoid.
        tags: of the outputs.
        size: side of the network's input.
        about: what the file says of itself.
        device: where it runs.
        dtype: of the weights.
    """

    def __init__(
        self, network: ResidualNetwork, tags: tuple[str, ...], size: int, about: Mapping[str, Any], *,
        device: torch.device, dtype: torch.dtype,
    ) -> None:  # fmt: skip
        self.id = weights_id("judge", {**network.state_dict(), "size": torch.tensor(float(size))})
        self.tags, self.size, self.about, self.device, self._dtype = tags, size, about, device, dtype
        self.settings = {"size": f"{size} x {size}", "network": str(about.get("network", ""))}
        self.network = network.to(device, dtype).eval().requires_grad_(False)

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) uint8 to (n, 3, size, size) float32 in [0, 1]."""
        return resized(pictures, self.size)

    @torch.inference_mode()
    def predict(self, prepared: Any) -> Tensor:
        """Scores (n, tags) float32."""
        scores: Tensor = torch.sigmoid(self.network(normalised(prepared.to(self.device, self._dtype))).float())
        return scores

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) in [-1, 1], rounded to 8 bits, to what the network's last layer sees, (n, f) float32.

        Raises:
            LatentEditError: another shape, or values that are not finite.
        """
        prepared = self.prepare(eight_bits(images)).to(self.device, self._dtype)
        return self.network.trunk(normalised(prepared)).float()


def load(argument: str, options: Mapping[str, str], *, device: torch.device, dtype: torch.dtype) -> Judge:
    """The judge in a file.

    Raises:
        DamagedFileError: it is missing, damaged or no judge.
        LatentEditError: no file is named.
    """
    check_options("judge", options, {})
    if not argument:
        raise LatentEditError(
            "judge needs a file of train-judge, as in judge:judge.safetensors; judge:avatar is bundled"
        )
    path = shipped(BUNDLED) if argument == "avatar" else Path(argument)
    about, tensors = read_judge(path)
    network = ResidualNetwork(about["network"], len(about["tags"]))
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DamagedFileError(f"{path} does not hold the weights of a {about['network']}: train it again") from error
    return Judge(network, tuple(about["tags"]), int(about["size"]), about, device=device, dtype=dtype)


def read_judge(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a judge's file says of itself, and its weights in float32.

    Raises:
        DamagedFileError: it is missing, damaged, no judge, or of a newer latentedit.
    """
    if not path.is_file():
        raise DamagedFileError(f"no judge at {path}; train one with `latentedit train-judge FOLDER --out {path}`")
    with named(path, "safetensors"):
        return _read(path)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise DamagedFileError(f"{path} is no judge; `latentedit train-judge` writes them")
            if int(metadata.get("schema", "0")) > SCHEMA:
                raise DamagedFileError(f"{path}: schema {metadata['schema']}; install a newer latentedit")
            about = json.loads(metadata["judge"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise DamagedFileError(f"{path}: damaged or not a safetensors file ({error}); train it again") from error
    known = isinstance(about, dict) and about.get("network") in NETWORKS and bool(about.get("tags"))
    if not known or not isinstance(about.get("size"), int):
        raise DamagedFileError(f"{path}: its description is damaged; train it again")
    return about, {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
