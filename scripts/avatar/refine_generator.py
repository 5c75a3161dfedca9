"""Refines the decoder of an exported generator: it gets a finish, and goes on learning to redraw.

    python refine_generator.py RENDERS WEIGHTS CHECKPOINT --pictures 60000

WEIGHTS is an exported generator (export.py). Its mapping, its styler and its encoders stay as they are, so that a seed
stays a face. Every hair shape is seen equally often: of the faces that lose their colour or length, most have one of
three rare ones. For the first eighth of the pictures the finish learns alone, to draw the render from what the decoder
made of it; then both learn. Loss: absolute error and that of neighbouring differences, alike everywhere, so that flat
areas become flat; and, a little, the weighted one of train_generator.py. CHECKPOINT is written every two minutes; the
same command resumes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from pathlib import Path

import torch
from renders import load_parts, load_pixels, to_images
from torch import Tensor
from train_generator import as_the_encoder_sees, detail_weight, save

import latentedit as le
from latentedit.generators.networks.avatar import Decoder

BATCH = 16
ALONE = 1 / 8
FINISH_RATE, RATE = 1.5e-3, 4e-4
MOUTH_WEIGHT, WEIGHTED = 10.0, 0.15


def losses(image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The error that counts everywhere, and the one that counts at fine detail, eyes and mouths."""
    error = image - target
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    plain = error.abs().mean() + 0.5 * (across.abs().mean() + down.abs().mean())
    return plain, ((error.abs() + error.square()) * detail_weight(target, MOUTH_WEIGHT)).mean()


def rate(seen: int, total: int) -> float:
    """Share of the learning rate: warm-up over 1,000 pictures, then a cosine to nothing from 30 % on."""
    fall = 0.5 * (1 + math.cos(math.pi * max(0.0, seen / total - 0.3) / 0.7))
    return min(1.0, (seen + BATCH) / 1000) * fall + 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("weights", type=Path, help="an exported generator")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=60_000, help="pictures to see in all")
    parser.add_argument("--bfloat16", action="store_true", help="autocast; faster on processors with AVX512-BF16")
    options = parser.parse_args()

    torch.manual_seed(0)
    networks = le.load_generator(f"avatar:{options.weights}").networks
    encoder, styler, decoder = networks.style_encoder, networks.styler, Decoder()
    decoder.load_state_dict(networks.decoder.state_dict(), strict=False)
    for net in (encoder, decoder):
        net.to(memory_format=torch.channels_last)
    finish = list(decoder.finish.parameters())
    rest = [p for name, p in decoder.named_parameters() if not name.startswith("finish.")]
    optimiser = torch.optim.AdamW(
        [{"params": finish}, {"params": rest}], lr=RATE, betas=(0.9, 0.99), weight_decay=0.0
    )  # fmt: skip
    average = {name: value.clone() for name, value in decoder.state_dict().items()}
    seen, spent = 0, 0.0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        seen, spent, average = state["seen"], state["seconds"], state["average"]
        optimiser.load_state_dict(state["optimiser"])
        decoder.load_state_dict(state["decoder"])
        torch.manual_seed(seen)
    live = decoder.state_dict()
    pictures = torch.cat([load_pixels(options.renders / f"adv{i}") for i in (0, 1)])
    shapes = [parts["hair"] for i in (0, 1) for parts in load_parts(options.renders / f"adv{i}")]
    often = Counter(shapes)
    weights = torch.tensor([1 / often[shape] for shape in shapes])
    started = saved = time.monotonic()
    while seen < options.pictures:
        alone = seen < ALONE * options.pictures
        for group, high in zip(optimiser.param_groups, (FINISH_RATE, 0.0 if alone else RATE), strict=True):
            group["lr"] = high * rate(seen, options.pictures)
        for parameter in rest:
            parameter.requires_grad_(not alone)
        target = to_images(pictures[torch.multinomial(weights, BATCH, replacement=True)])
        target = target.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            view = as_the_encoder_sees(target).contiguous(memory_format=torch.channels_last)
            mean, log_variance = encoder(view)
            noise = torch.rand(len(mean), 1) * torch.randn_like(mean)  # down to none, as pictures are read
            codes = styler(mean + noise * (0.5 * log_variance).exp())
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            image = decoder(codes[:, None].expand(-1, len(Decoder.slots), -1))
        plain, weighted = losses(image.float(), target)
        optimiser.zero_grad(set_to_none=True)
        (plain + (0.0 if alone else WEIGHTED) * weighted).backward()
        torch.nn.utils.clip_grad_norm_([p for p in decoder.parameters() if p.requires_grad], 0.5)
        optimiser.step()
        seen += BATCH
        step = seen // BATCH
        decay = min(0.998, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.values()), [live[name] for name in average], 1 - decay)
        now = time.monotonic()
        if step % 50 == 0:
            took = spent + now - started
            print(f"{seen} {took:.0f}s plain {plain.item():.4f} weighted {weighted.item():.3f}", flush=True)
        if now - saved > 120 or seen >= options.pictures:
            saved = now
            save(options.checkpoint, {
                "decoder": decoder.state_dict(), "average": average, "optimiser": optimiser.state_dict(),
                "seen": seen, "seconds": spent + now - started,
            })  # fmt: skip


if __name__ == "__main__":
    main()
