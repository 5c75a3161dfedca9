"""Trains the bundled tagger on renders in random poses, some of them lightly blurred.

    python train_tagger.py RENDERS CHECKPOINT --pictures 160000

RENDERS is a folder with adv0, adv1 (render.mjs). CHECKPOINT is written every minute; the same
command resumes.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from labels import TAGS, label_matrix
from renders import load_parts, load_pixels, random_pose, to_images
from torch import Tensor

from latentedit.generators.networks.avatar import RESOLUTION, affine, warp
from latentedit.taggers.avatar import TaggerNetwork

BATCH = 32
PEAK_RATE = 2e-3


def soften(images: Tensor) -> Tensor:
    """Blur half of the pictures a little, and shift colours and add noise a little, as a generator would."""
    n = len(images)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amount = (torch.rand(n, 1, 1, 1) * (torch.rand(n, 1, 1, 1) < 0.5)).to(images)
    images = images.lerp(blurred, amount)
    images = images * (1 + 0.04 * torch.randn(n, 3, 1, 1)) + 0.02 * torch.randn(n, 3, 1, 1)
    return (images + torch.rand(n, 1, 1, 1) * 0.04 * torch.randn_like(images)).clamp(-1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=160_000, help="pictures to see in all")
    parser.add_argument("--bfloat16", action="store_true", help="autocast; faster on processors with AVX512-BF16")
    options = parser.parse_args()

    parts = sum((load_parts(options.renders / f"adv{i}") for i in (0, 1)), [])
    pictures = torch.cat([load_pixels(options.renders / f"adv{i}") for i in (0, 1)])
    labels = torch.from_numpy(label_matrix(parts))
    torch.manual_seed(0)
    network = TaggerNetwork(len(TAGS))
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    average = {key: value.clone() for key, value in network.state_dict().items()}
    seen, spent = 0, 0.0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        seen, spent, average = state["seen"], state["seconds"], state["average"]
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        torch.manual_seed(seen)
    started = saved = time.monotonic()
    first = seen
    while seen < options.pictures:
        progress = seen / options.pictures
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (seen + BATCH) / 5000) * 0.5 * (1 + math.cos(math.pi * progress)) + 1e-6
        rows = torch.randint(0, len(pictures), (BATCH,))
        images = soften(warp(to_images(pictures[rows]), affine(random_pose(BATCH)), RESOLUTION))
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            logits = network(images)
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        seen += BATCH
        decay = min(0.995, seen / BATCH / (10 + seen / BATCH))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                average[key].lerp_(value, 1 - decay)
            else:
                average[key].copy_(value)
        now = time.monotonic()
        if seen // BATCH % 100 == 0:
            rate = (seen - first) / (now - started)
            print(f"{seen} {spent + now - started:.0f}s loss {loss.item():.4f} {rate:.0f}/s", flush=True)
        if now - saved > 60 or seen >= options.pictures:
            saved = now
            state = {
                "network": network.state_dict(), "average": average, "optimiser": optimiser.state_dict(),
                "seen": seen, "seconds": spent + now - started,
            }  # fmt: skip
            torch.save(state, f"{options.checkpoint}.tmp")
            os.replace(f"{options.checkpoint}.tmp", options.checkpoint)


if __name__ == "__main__":
    main()
