"""Makes a smaller style encoder that reads what the trained one reads: a third of its weights.

    python shrink_encoder.py RENDERS WEIGHTS CHECKPOINT --pictures 20000

WEIGHTS is an exported generator. The smaller network starts from it, large layers as the product of the two that are
nearest to them (a truncated singular value decomposition), and learns to give the same means. Takes minutes, so it
does not resume.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
from renders import load_pixels, to_images
from torch import Tensor, nn
from train_generator import as_the_encoder_sees

import latentedit as le
from latentedit.generators.networks.avatar import StyleEncoder, StyleReader

BATCH, PEAK_RATE = 16, 5e-4


def split(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """A convolution's weights (o, i, h, w) as (rank, i, h, w) and (o, rank, 1, 1), whose product is nearest to them."""
    u, s, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    root = s[:rank].sqrt()
    first = (root[:, None] * v[:rank]).view(rank, *weight.shape[1:])
    return first, (u[:, :rank] * root)[:, :, None, None]


@torch.no_grad()
def start(reader: StyleReader, encoder: StyleEncoder, seen: Tensor) -> None:
    """Fill a reader with what an encoder knows; ``seen`` are pictures to centre its last features on."""
    half = encoder.head.weight[: len(encoder.head.weight) // 2]
    bias, offset, parts = encoder.head.bias[: len(half)].clone(), 0, []
    for new, old in ((reader.whole, encoder.whole), (reader.close, encoder.close)):
        for layer, known in zip(new, old, strict=False):
            if isinstance(layer, nn.Sequential) and len(layer) > len(known):
                layer[0].weight[:], layer[1].weight[:] = split(known[0].weight, len(layer[0].weight))
                layer[1].bias[:] = known[0].bias
                layer[2].load_state_dict(known[1].state_dict())
            elif isinstance(layer, nn.Sequential):
                layer.load_state_dict(known.state_dict())
        view = seen if old is encoder.whole else seen[:, :, StyleEncoder.face[0], StyleEncoder.face[1]]
        features = old[:-1](view)  # (n, c, h, w)
        n, c, h, w = features.shape
        flat = features.permute(0, 2, 3, 1).reshape(-1, c)
        mean = flat.mean(0)
        _, axes = torch.linalg.eigh(torch.cov(flat.T))
        axes = axes[:, -len(new[-2].weight) :]  # (c, k): the directions in which features differ most
        new[-2].weight[:], new[-2].bias[:] = axes.T[:, :, None, None], -(axes.T @ mean)
        share = half[:, offset : offset + c * h * w].view(len(half), c, h * w)
        parts.append(torch.einsum("ocp,ck->okp", share, axes).flatten(1))
        bias += torch.einsum("ocp,c->o", share, mean)
        offset += c * h * w
    reader.head.weight[:], reader.head.bias[:] = torch.cat(parts, 1), bias


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("weights", type=Path, help="an exported generator")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=20_000, help="pictures to see in all")
    options = parser.parse_args()

    torch.manual_seed(0)
    encoder = le.load_generator(f"avatar:{options.weights}").networks.style_encoder
    pictures = torch.cat([load_pixels(options.renders / f"adv{i}") for i in (0, 1)])
    held = to_images(load_pixels(options.renders / "held")[:256])
    reader = StyleReader()
    start(reader, encoder, as_the_encoder_sees(to_images(pictures[:512])))
    for net in (encoder, reader):
        net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(reader.parameters(), betas=(0.9, 0.99), weight_decay=0.0)
    average = {name: value.clone() for name, value in reader.state_dict().items()}
    live, started, steps = reader.state_dict(), time.monotonic(), options.pictures // BATCH

    def told(state: dict[str, Tensor]) -> str:
        judged = StyleReader()
        judged.load_state_dict(state)
        with torch.no_grad():
            torch.manual_seed(1)
            seen = as_the_encoder_sees(held)
            mean, _ = encoder(seen)
            error, spread = (judged(seen) - mean).square().sum(), (mean - mean.mean(0)).square().sum()
            return f"unexplained on held-out pictures {error / spread:.4f}"

    print(told(average), flush=True)
    torch.manual_seed(0)
    for i in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, (i + 1) / 100) * 0.5 * (1 + math.cos(math.pi * i / steps)) + 1e-6
        with torch.no_grad():
            seen = as_the_encoder_sees(to_images(pictures[torch.randint(0, len(pictures), (BATCH,))]))
            seen = seen.contiguous(memory_format=torch.channels_last)
            mean, _ = encoder(seen)
        loss = (reader(seen) - mean).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        decay = min(0.998, (1 + i) / (10 + i))
        torch._foreach_lerp_(list(average.values()), [live[name] for name in average], 1 - decay)
        if (i + 1) % 250 == 0:
            random = torch.get_rng_state()
            took = time.monotonic() - started
            print(f"{(i + 1) * BATCH} {took:.0f}s loss {loss.item():.4f} {told(average)}", flush=True)
            torch.set_rng_state(random)
    torch.save({"average": average, "pictures": options.pictures}, options.checkpoint)


if __name__ == "__main__":
    main()
