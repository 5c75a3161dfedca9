"""Trains the pose encoder: which rotation, scale and shift was a picture drawn with?

    python train_pose.py RENDERS CHECKPOINT --pictures 80000

RENDERS is a folder with adv0, adv1 and ava (render.mjs). Both kinds of art are posed at random, and
the encoder learns to read the pose off the picture. Takes a few minutes, so it does not resume.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from renders import load_pixels, random_pose, to_images
from train_tagger import soften

from latentedit.generators.networks.avatar import RESOLUTION, PoseEncoder, affine, warp

BATCH = 32
HELD_OUT = 200
PEAK_RATE = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=80_000, help="pictures to see in all")
    options = parser.parse_args()

    art = [load_pixels(options.renders / name) for name in ("adv0", "ava")]
    torch.manual_seed(0)
    encoder = PoseEncoder()
    optimiser = torch.optim.AdamW(encoder.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    steps = options.pictures // BATCH
    for i in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (i + 1) / 100) * 0.5 * (1 + math.cos(math.pi * i / steps)) + 1e-6
        rows = [pixels[torch.randint(0, len(pixels) - HELD_OUT, (BATCH // 2,))] for pixels in art]
        pose = random_pose(BATCH, degrees=25, zoom=0.15, shift=0.12)
        images = soften(warp(to_images(torch.cat(rows)), affine(pose), RESOLUTION))
        loss = (encoder(images) - pose).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if (i + 1) % 100 == 0:
            print(f"{(i + 1) * BATCH} mean absolute error {loss.item():.4f}", flush=True)
    encoder.eval()
    with torch.no_grad():
        for name, pixels in zip(("adventurer", "avataaars"), art, strict=True):
            pose = random_pose(HELD_OUT)
            error = encoder(warp(to_images(pixels[-HELD_OUT:]), affine(pose), RESOLUTION)) - pose
            print(f"held-out {name}: mean absolute error {error.abs().mean(0).tolist()}", flush=True)
    torch.save({"average": encoder.state_dict(), "pictures": options.pictures}, options.checkpoint)


if __name__ == "__main__":
    main()
