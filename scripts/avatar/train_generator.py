"""Trains the decoder and the style encoder of the bundled generator as a variational autoencoder.

    python train_generator.py RENDERS CHECKPOINT --pictures 400000

RENDERS is a folder with adv0.rgb, adv1.rgb (render.mjs). The encoder sees each picture posed at
random and put upright again with a small error, as the pose encoder will do it; the decoder
must redraw the upright picture. CHECKPOINT is written every few minutes; the same command resumes.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from renders import load_pixels, random_pose, to_images
from torch import Tensor, nn

from latentedit.generators.networks.avatar import (
    CANONICAL,
    RESOLUTION,
    TRAINING_W_DIM,
    Z_DIM,
    Decoder,
    StyleEncoder,
    Styler,
    affine,
    invert,
    warp,
)

BATCH = 16
PEAK_RATE = 2e-3
KL_WEIGHT = 0.003
MOUTH_WEIGHT = (40.0, 6.0)  # until and from MOUTH_UNTIL: small in area, mouths are learnt last, or never
MOUTH_UNTIL = 0.85
POSE_ERROR = (0.013, 0.026, 0.009, 0.012)  # of train_pose.py on held-out pictures, standard deviations


def detail_weight(image: Tensor, mouth_weight: float) -> Tensor:
    """Weight of each pixel's error: more at fine detail, at the eyes, and at the mouth."""
    eyes_and_mouth = F.pad(torch.ones(1, 1, 56, 74), (26, 44, 58, 30))
    mouth = F.pad(torch.ones(1, 1, 36, 48), (36, 60, 84, 24))
    face = F.avg_pool2d(5 * eyes_and_mouth + mouth_weight * mouth, 9, 1, 4)
    return (1 + 6 * (image - F.avg_pool2d(image, 5, 1, 2)).abs().mean(1, keepdim=True)) * (1 + face)


def as_the_encoder_sees(image: Tensor) -> Tensor:
    """Pose a picture at 128 x 128 and put it upright again with the error of an estimated pose."""
    pose = random_pose(len(image))
    error = torch.randn_like(pose) * torch.tensor(POSE_ERROR)
    return warp(warp(image, affine(pose), RESOLUTION), invert(affine(pose + error)), CANONICAL)


class Guide(nn.Module):
    """Redraws small eyes and mouth, less their mean brightness, from the identity code; for training alone.

    The decoder takes hundreds of thousands of pictures to begin to ask the encoder for mouths; this asks at once,
    and being linear it asks for codes in which alike mouths lie together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(Z_DIM, 3 * 36 * 44)

    def forward(self, code: Tensor, target: Tensor) -> Tensor:
        rows, columns = StyleEncoder.face
        face = F.avg_pool2d(target[:, :, rows, columns], 2)  # (n, 3, 36, 44)
        detail = face - F.avg_pool2d(face, 15, 1, 7, count_include_pad=False)
        error = (self.net(code).view_as(detail) - detail).square()
        return error.mean() + 2 * error[:, :, 18:].mean()


def losses(
    encoder, styler, decoder, guide, seen: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    mean, log_variance = encoder(seen)
    code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
    image = decoder(styler(code)[:, None].expand(-1, len(Decoder.slots), -1))
    error = image - target
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    # The absolute error alone is content with the median, bare skin where mouths differ; the square
    # rewards knowing a little.
    reconstruction = ((error.abs() + error.square()) * weight).mean() + 0.5 * (across.abs().mean() + down.abs().mean())
    return 50 * reconstruction + 100 * guide(code, target) + KL_WEIGHT * kl, reconstruction, kl


def learning_rate(seen: int, total: int) -> float:
    """Warm-up over 5,000 pictures, constant until 40 % of the run, then a cosine to nothing."""
    progress = seen / total
    fall = 0.5 * (1 + math.cos(math.pi * (progress - 0.4) / 0.6)) if progress > 0.4 else 1.0
    return PEAK_RATE * min(1.0, (seen + BATCH) / 5000) * fall + 1e-6


def save(path: Path, state: dict) -> None:
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--pictures", type=int, default=400_000, help="pictures to see in all")
    parser.add_argument("--bfloat16", action="store_true", help="autocast; faster on processors with AVX512-BF16")
    options = parser.parse_args()

    pixels = [load_pixels(options.renders / f"adv{i}") for i in (0, 1)]
    pictures = torch.cat(pixels)
    torch.manual_seed(0)
    nets = {
        "style_encoder": StyleEncoder(),
        "styler": Styler(TRAINING_W_DIM),
        "decoder": Decoder(TRAINING_W_DIM, finish=False),
        "guide": Guide(),
    }
    for net in nets.values():
        net.to(memory_format=torch.channels_last)
    parameters = [p for net in nets.values() for p in net.parameters()]
    optimiser = torch.optim.AdamW(parameters, betas=(0.9, 0.99), weight_decay=0.0)
    average = {f"{name}.{key}": value.clone() for name, net in nets.items() for key, value in net.state_dict().items()}
    seen, spent = 0, 0.0
    if options.checkpoint.exists():
        state = torch.load(options.checkpoint, weights_only=True)
        seen, spent, average = state["seen"], state["seconds"], state["average"]
        optimiser.load_state_dict(state["optimiser"])
        for name, net in nets.items():
            net.load_state_dict(state["nets"][name])
        torch.manual_seed(seen)
    live = {f"{name}.{key}": value for name, net in nets.items() for key, value in net.state_dict().items()}
    started = saved = time.monotonic()
    first = seen
    while seen < options.pictures:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(seen, options.pictures)
        mouth_weight = MOUTH_WEIGHT[seen / options.pictures >= MOUTH_UNTIL]
        target = to_images(pictures[torch.randint(0, len(pictures), (BATCH,))]).contiguous(
            memory_format=torch.channels_last
        )
        view = as_the_encoder_sees(target).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            loss, reconstruction, kl = losses(*nets.values(), view, target, detail_weight(target, mouth_weight))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        seen += BATCH
        decay = min(0.999, (1 + seen / BATCH) / (10 + seen / BATCH))
        torch._foreach_lerp_(list(average.values()), [live[key] for key in average], 1 - decay)
        now = time.monotonic()
        if seen // BATCH % 50 == 0:
            rate = (seen - first) / (now - started)
            figures = f"reconstruction {reconstruction.item():.4f} kl {kl.item():.0f}"
            print(f"{seen} {spent + now - started:.0f}s {figures} {rate:.0f}/s", flush=True)
        if now - saved > 120 or seen >= options.pictures:
            saved = now
            save(options.checkpoint, {
                "nets": {name: net.state_dict() for name, net in nets.items()}, "average": average,
                "optimiser": optimiser.state_dict(), "seen": seen, "seconds": spent + now - started,
            })  # fmt: skip


if __name__ == "__main__":
    main()
