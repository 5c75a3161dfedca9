"""Fits the mapping's flow: N(0, I) to the identity codes that the style encoder gives to the art.

    python train_flow.py RENDERS GENERATOR_CHECKPOINT CHECKPOINT --steps 8000

Flow matching with straight paths (Lipman et al., 2023): x_t = (1 - t) x_0 + t x_1, and the network
regresses x_1 - x_0. Takes a few minutes, so it does not resume.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from renders import load_pixels, to_images
from torch import Tensor
from train_generator import as_the_encoder_sees

from latentedit.generators.networks.avatar import Z_DIM, Flow, StyleEncoder

BATCH = 1024
PEAK_RATE = 1e-3
VIEWS = 2


def sub_state(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(name + ".")}


@torch.no_grad()
def identity_codes(encoder: StyleEncoder, renders: Path) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (VIEWS * n, Z_DIM) of every training picture, in VIEWS poses each."""
    means, deviations = [], []
    for _ in range(VIEWS):
        for name in ("adv0", "adv1"):
            for rows in load_pixels(renders / name).split(64):
                mean, log_variance = encoder(as_the_encoder_sees(to_images(rows)))
                means.append(mean)
                deviations.append((0.5 * log_variance).exp())
    return torch.cat(means), torch.cat(deviations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("generator", type=Path, help="checkpoint of train_generator.py")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=8000)
    options = parser.parse_args()

    torch.manual_seed(0)
    encoder = StyleEncoder().eval()
    encoder.load_state_dict(sub_state(torch.load(options.generator, weights_only=True)["average"], "style_encoder"))
    means, deviations = identity_codes(encoder, options.renders)
    print(f"{len(means)} codes, spread {means.std(0).mean():.2f}, noise {deviations.mean():.2f}", flush=True)
    flow = Flow()
    optimiser = torch.optim.AdamW(flow.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    average = {key: value.clone() for key, value in flow.state_dict().items()}
    smoothed = 0.0
    for i in range(options.steps):
        for group in optimiser.param_groups:
            fall = 0.5 * (1 + math.cos(math.pi * i / options.steps))
            group["lr"] = PEAK_RATE * min(1.0, (i + 1) / 200) * fall + 1e-6
        rows = torch.randint(0, len(means), (BATCH,))
        end = means[rows] + deviations[rows] * torch.randn(BATCH, Z_DIM)
        start, t = torch.randn(BATCH, Z_DIM), torch.rand(BATCH, 1)
        loss = (flow.velocity(start.lerp(end, t), t) - (end - start)).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (1 + i) / (10 + i))
        for key, value in flow.state_dict().items():
            average[key].lerp_(value, 1 - decay)
        smoothed = loss.item() if i == 0 else 0.99 * smoothed + 0.01 * loss.item()
        if (i + 1) % 200 == 0:
            print(f"{i + 1} loss {smoothed:.4f}", flush=True)
    torch.save({"average": average, "steps": options.steps}, options.checkpoint)


if __name__ == "__main__":
    main()
