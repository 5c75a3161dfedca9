"""How good are the bundled generator and tagger? Prints JSON.

    python benchmarks/avatar.py RENDERS

RENDERS is a folder with `held` (scripts/avatar/render.mjs adventurer 3000 3 RENDERS/held), pictures
that neither network was trained on; the first 2,000 are used.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

import latentedit as le
from latentedit.generators.networks.avatar import affine, warp

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "avatar"))
from labels import HAIR_COLORS, TAGS, label_matrix
from renders import load_parts, load_pixels, random_pose, to_images

HELD_OUT, SAMPLES, BATCH = 2_000, 2_000, 50
PAIR_TAGS = ("long_hair", "short_hair", "open_mouth", "closed_mouth", "closed_eyes", "open_eyes")
GROUPS = {
    "hair_color": HAIR_COLORS,
    "hair_length": ("long_hair", "short_hair"),
    "mouth": ("open_mouth", "closed_mouth"),
    "eyes": ("closed_eyes", "open_eyes", "half-closed_eyes", "one_eye_closed"),
}


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error (Guo et al., 2017, equation 3) over all scores given."""
    bin_of = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [
        (bin_of == b).mean() * abs(scores[bin_of == b].mean() - labels[bin_of == b].mean())
        for b in range(bins)
        if (bin_of == b).any()
    ]
    return float(sum(gaps))


def sharpness(images: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels."""
    return float(
        (images[..., 1:] - images[..., :-1]).abs().mean() + (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path)
    options = parser.parse_args()
    generator, tagger = le.load_generator("avatar"), le.load_tagger("avatar")
    assert tagger.tags == TAGS

    torch.manual_seed(0)
    labels = label_matrix(load_parts(options.renders / "held")[:HELD_OUT])
    pixels = load_pixels(options.renders / "held")[:HELD_OUT]
    on_art, on_redrawn, sharp_art, sharp_redrawn = [], [], [], []
    for rows in pixels.split(BATCH):
        art = warp(to_images(rows), affine(random_pose(len(rows))), generator.resolution)
        content, z = generator.encode(art)
        redrawn = generator.decode(generator.map(z), content=content)
        on_art.append(tagger.score(art))
        on_redrawn.append(tagger.score(redrawn))
        sharp_art.append(sharpness(art))
        sharp_redrawn.append(sharpness(redrawn.clamp(-1, 1)))
    art_scores, redrawn_scores = torch.cat(on_art).numpy(), torch.cat(on_redrawn).numpy()

    precision = {
        tag: float(average_precision_score(labels[:, j], art_scores[:, j]))
        for j, tag in enumerate(TAGS)
        if labels[:, j].any()
    }
    kept = {}
    for name, tags in GROUPS.items():
        columns = [TAGS.index(tag) for tag in tags]
        kept[name] = float(((redrawn_scores[:, columns] >= 0.5) == (labels[:, columns] > 0.5)).all(1).mean())

    scores = []
    for start in range(0, SAMPLES, BATCH):
        codes = generator.sample_codes(range(2_000_000 + start, 2_000_000 + start + BATCH))
        scores.append(tagger.score(generator.decode(codes)))
    sampled = torch.cat(scores).numpy()
    share = {tag: float((sampled[:, TAGS.index(tag)] >= 0.5).mean()) for tag in TAGS}
    decided = {tag: float(((s := sampled[:, TAGS.index(tag)]) < 0.2).mean() + (s > 0.8).mean()) for tag in PAIR_TAGS}
    by_tag = [calibration_error(art_scores[:, j], labels[:, j]) for j in range(len(TAGS))]
    print(json.dumps({
        "tagger": {
            "mean_average_precision": float(np.mean(list(precision.values()))),
            "pair_tags": {tag: precision[tag] for tag in PAIR_TAGS},
            "worst": dict(sorted(precision.items(), key=lambda item: item[1])[:8]),
            "calibration_error": calibration_error(art_scores.ravel(), labels.ravel()),
            "calibration_error_worst_tag": max(by_tag),
        },
        "redrawn": {"labels_kept": kept, "sharpness_of_art": float(np.sum(sharp_redrawn) / np.sum(sharp_art))},
        "samples": {"share": share, "decided": decided},
    }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
