"""Writes a generator whose decoder was refined and whose style encoder was shrunk, in half precision.

    python assemble.py WEIGHTS REFINED READER --out ../../data/avatar-generator.safetensors

WEIGHTS is the exported generator that both were made of; REFINED is the checkpoint of refine_generator.py, READER that
of shrink_encoder.py. With --flow, the checkpoint of train_flow.py for a mapping that learned on from WEIGHTS, style
codes are whitened again, along the axes that they have.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from export import WHITENING_SEEDS, half, whiten
from safetensors.torch import load_file, save_file

from latentedit.generators.avatar import AvatarNetworks
from latentedit.generators.base import seed_latents
from latentedit.generators.networks.avatar import Z_DIM


@torch.no_grad()
def follow(networks: AvatarNetworks, flow: Path) -> None:
    """Take another mapping, and keep style codes of unit covariance."""
    networks.flow.load_state_dict(torch.load(flow, weights_only=True)["average"])
    identities = networks.flow(seed_latents(WHITENING_SEEDS, Z_DIM))
    styled, drawn = whiten(networks.styler, networks.decoder, networks.styler(identities), keep_axes=True)
    networks.styler.load_state_dict(styled)
    networks.decoder.load_state_dict(drawn)
    networks.mean_code.copy_(networks.styler(identities).mean(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("refined", type=Path)
    parser.add_argument("reader", type=Path)
    parser.add_argument("--flow", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    whole = {name: value.float() for name, value in load_file(options.weights).items()}
    state = {name: value for name, value in whole.items() if not name.startswith(("decoder.", "style_encoder."))}
    for part, checkpoint in (("decoder", options.refined), ("style_encoder", options.reader)):
        average = torch.load(checkpoint, weights_only=True)["average"]
        state |= {f"{part}.{name}": value for name, value in average.items()}
    networks = AvatarNetworks()
    networks.load_state_dict(state)
    if options.flow:
        follow(networks, options.flow)
    save_file(half(networks.state_dict()), options.out)
    options.out.chmod(0o644)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
