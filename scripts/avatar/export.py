"""Writes files from the checkpoints: weights in half precision, tag list, contents, targets.

    python export.py RENDERS GENERATOR POSE FLOW TAGGER --out OUT

The generator is what refine_generator.py and shrink_encoder.py go on from; assemble.py makes the final one. RENDERS
also holds `held` (Adventurer) and `ava` (Avataaars) from render.mjs; the last 64 Avataaars become contents in random
poses, the last 200 held-out Adventurers the target set.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from labels import TAGS
from PIL import Image
from renders import load_pixels, random_pose, to_images
from safetensors.torch import save_file
from torch import Tensor
from train_flow import sub_state

from latentedit.generators.avatar import AvatarNetworks
from latentedit.generators.base import seed_latents
from latentedit.generators.networks.avatar import (
    RESOLUTION,
    TRAINING_W_DIM,
    W_DIM,
    Z_DIM,
    Decoder,
    Styler,
    affine,
    warp,
)
from latentedit.pictures.images import to_uint8
from latentedit.taggers.avatar import TaggerNetwork

CONTENTS, TARGETS = 64, 200
WHITENING_SEEDS = range(2**30, 2**30 + 20_000)


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def whiten(
    styler: Styler, decoder: Decoder, codes: Tensor, *, keep_axes: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """States of a styler and a decoder whose style codes have unit covariance and W_DIM numbers.

    With codes = mean + white @ widen.T, the styler's last layer and the decoder's affine layers absorb the
    projection on the leading principal components.

    Args:
        styler, decoder: as trained.
        codes: style codes (n, TRAINING_W_DIM) of random faces; (n, W_DIM) with ``keep_axes``.
        keep_axes: turned back from the principal components, so that codes stay as near to what they were as can be.
    """
    codes = codes.double()
    mean = codes.mean(0)  # (TRAINING_W_DIM,)
    values, u = torch.linalg.eigh(torch.cov(codes.T))
    values, u = values[-W_DIM:].flip(0), u[:, -W_DIM:].flip(1)
    narrow, widen = u / values.sqrt(), u * values.sqrt()  # (TRAINING_W_DIM, W_DIM) both
    if keep_axes:
        narrow, widen = narrow @ u.T, widen @ u.T
    styled = {name: tensor.double() for name, tensor in styler.state_dict().items()}
    styled["4.weight"], styled["4.bias"] = narrow.T @ styled["4.weight"], narrow.T @ (styled["4.bias"] - mean)
    drawn = {name: tensor.double() for name, tensor in decoder.state_dict().items()}
    for name in [name for name in drawn if name.endswith("affine.weight")]:
        bias = name.replace("weight", "bias")
        drawn[bias] = drawn[bias] + drawn[name] @ mean
        drawn[name] = drawn[name] @ widen
    return styled, drawn


@torch.inference_mode()
def generator_state(generator: Path, pose: Path, flow: Path) -> dict[str, Tensor]:
    trained = torch.load(generator, weights_only=True)["average"]
    styler, decoder = Styler(TRAINING_W_DIM), Decoder(TRAINING_W_DIM, finish=False)
    styler.load_state_dict(sub_state(trained, "styler"))
    decoder.load_state_dict(sub_state(trained, "decoder"))
    networks = AvatarNetworks(finish=False, reader=False).eval()
    networks.style_encoder.load_state_dict(sub_state(trained, "style_encoder"))
    networks.pose_encoder.load_state_dict(torch.load(pose, weights_only=True)["average"])
    networks.flow.load_state_dict(torch.load(flow, weights_only=True)["average"])
    identities = networks.flow(seed_latents(WHITENING_SEEDS, Z_DIM))
    styled, drawn = whiten(styler, decoder, styler(identities))
    networks.styler.load_state_dict(styled)
    networks.decoder.load_state_dict(drawn)
    networks.mean_code.copy_(networks.styler(identities).mean(0))
    return networks.state_dict()


def tagger_state(path: Path) -> dict[str, Tensor]:
    network = TaggerNetwork(len(TAGS))
    network.load_state_dict(torch.load(path, weights_only=True)["average"])
    return network.state_dict()


def write_pictures(images: Tensor, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(to_uint8(images)):
        Image.fromarray(pixels).save(folder / f"{i:03d}.png", optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("generator", type=Path)
    parser.add_argument("pose", type=Path)
    parser.add_argument("flow", type=Path)
    parser.add_argument("tagger", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    save_file(
        half(generator_state(options.generator, options.pose, options.flow)),
        options.out / "avatar-generator.safetensors",
    )
    save_file(half(tagger_state(options.tagger)), options.out / "avatar-tagger.safetensors")
    for name in ("avatar-generator.safetensors", "avatar-tagger.safetensors"):
        (options.out / name).chmod(0o644)
    (options.out / "avatar-tags.txt").write_text("\n".join(TAGS) + "\n")
    torch.manual_seed(1)
    selfies = to_images(load_pixels(options.renders / "ava")[-CONTENTS:])
    write_pictures(warp(selfies, affine(random_pose(CONTENTS)), RESOLUTION), options.out / "contents")
    targets = to_images(load_pixels(options.renders / "held")[-TARGETS:])
    write_pictures(warp(targets, affine(random_pose(TARGETS)), RESOLUTION), options.out / "targets")


if __name__ == "__main__":
    main()
