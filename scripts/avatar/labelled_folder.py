"""Renders to a folder of posed 128-pixel pictures, with their labels: what ``latentedit train-judge`` learns from.

    python labelled_folder.py RENDERS/judge FOLDER [--count 6000] [--seed 5] [--least 0.01] [--plain]

RENDERS/judge is a prefix of render.mjs. Tags on fewer than --least of the pictures are left out; --plain writes no
labels (for content pictures).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from labels import TAGS, label_matrix
from PIL import Image
from renders import load_parts, load_pixels, random_pose, to_images

from latentedit.generators.networks import avatar as network
from latentedit.pictures.images import to_uint8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--least", type=float, default=0.01)
    parser.add_argument("--plain", action="store_true")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    pixels, parts = load_pixels(options.renders), load_parts(options.renders)
    count = min(options.count or len(parts), len(parts))
    options.folder.mkdir(parents=True, exist_ok=True)
    digits = max(3, len(str(count - 1)))
    for start in range(0, count, 100):
        images = to_images(pixels[start : min(start + 100, count)])
        posed = network.warp(images, network.affine(random_pose(len(images))), network.RESOLUTION)
        for i, one in enumerate(to_uint8(posed), start):
            Image.fromarray(one).save(options.folder / f"{i:0{digits}d}.png", optimize=options.plain)
    if options.plain:
        return
    labels = label_matrix(parts[:count])
    kept = [j for j in range(len(TAGS)) if options.least <= labels[:, j].mean() <= 1 - options.least]
    lines = [",".join(["file", *(TAGS[j] for j in kept)])]
    lines += [",".join([f"{i:0{digits}d}.png", *(str(int(labels[i, j])) for j in kept)]) for i in range(count)]
    (options.folder / "labels.csv").write_text("\n".join(lines) + "\n")
    print(f"{count} pictures, {len(kept)} tags")


if __name__ == "__main__":
    main()
