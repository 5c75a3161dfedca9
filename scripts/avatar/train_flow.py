"""Fits the mapping's flow: N(0, I) to the identity codes that the style encoder gives to the art.

    python train_flow.py RENDERS GENERATOR CHECKPOINT --steps 24000

GENERATOR is the checkpoint of train_generator.py, or an exported generator, whose flow learns on. All of
RENDERS/adv*.rgb are read. Flow matching with straight paths (Lipman et al., 2023): x_t = (1 - t) x_0 + t x_1, and the
network regresses x_1 - x_0. A flow that has learned too little puts random faces between the real ones, where a decoder
blends them. CHECKPOINT is written every two minutes; the same command resumes.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from renders import load_pixels, to_images
from torch import Tensor
from train_generator import as_the_encoder_sees, save

import latentedit as le
from latentedit.generators.networks.avatar import Z_DIM, Flow, StyleEncoder

BATCH = 1024
PEAK_RATE = 1e-3


def sub_state(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(name + ".")}


@torch.no_grad()
def identity_codes(encoder: StyleEncoder, renders: Path) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (n, Z_DIM) of every training picture, in a pose each."""
    means, deviations = [], []
    for path in sorted(renders.glob("adv*.rgb")):
        for rows in load_pixels(path.with_suffix("")).split(64):
            mean, log_variance = encoder(as_the_encoder_sees(to_images(rows)))
            means.append(mean)
            deviations.append((0.5 * log_variance).exp())
    return torch.cat(means), torch.cat(deviations)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("generator", type=Path, help="checkpoint of train_generator.py, or an exported generator")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--steps", type=int, default=24_000)
    options = parser.parse_args()

    torch.manual_seed(0)
    encoder, flow = StyleEncoder().eval(), Flow()
    if options.generator.suffix == ".safetensors":
        networks = le.load_generator(f"avatar:{options.generator}").networks
        encoder.load_state_dict(networks.style_encoder.state_dict())
        flow.load_state_dict(networks.flow.state_dict())
    else:
        encoder.load_state_dict(sub_state(torch.load(options.generator, weights_only=True)["average"], "style_encoder"))
    optimiser = torch.optim.AdamW(flow.parameters(), betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    average = {key: value.clone() for key, value in flow.state_dict().items()}
    step, smoothed = 0, 0.0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        step, smoothed, average = state["step"], state["loss"], state["average"]
        means, deviations = state["codes"]
        flow.load_state_dict(state["flow"])
        optimiser.load_state_dict(state["optimiser"])
        torch.manual_seed(step)
    else:
        means, deviations = identity_codes(encoder, options.renders)
        print(f"{len(means)} codes, spread {means.std(0).mean():.2f}, noise {deviations.mean():.2f}", flush=True)
    live, saved = flow.state_dict(), time.monotonic()
    while step < options.steps:
        fall = 0.5 * (1 + math.cos(math.pi * step / options.steps))
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (step + 1) / 200) * fall + 1e-6
        rows = torch.randint(0, len(means), (BATCH,))
        end = means[rows] + deviations[rows] * torch.randn(BATCH, Z_DIM)
        start, t = torch.randn(BATCH, Z_DIM), torch.rand(BATCH, 1)
        loss = (flow.velocity(start.lerp(end, t), t) - (end - start)).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        decay = min(0.999, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [live[key] for key in average], 1 - decay)
        smoothed = 0.99 * smoothed + 0.01 * loss.item() if step else loss.item()
        step += 1
        if step % 200 == 0:
            print(f"{step} loss {smoothed:.4f}", flush=True)
        if time.monotonic() - saved > 120 or step == options.steps:
            saved = time.monotonic()
            save(options.checkpoint, {
                "average": average, "flow": flow.state_dict(), "optimiser": optimiser.state_dict(), "step": step,
                "loss": smoothed, "codes": (means, deviations),
            })  # fmt: skip


if __name__ == "__main__":
    main()
