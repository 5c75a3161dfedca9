"""Parts of a picture to tags, read off the artist's sheets by eye; Danbooru's spelling where it has the tag."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

PARTS = json.loads((Path(__file__).parent / "parts.json").read_text())
HAIR_COLORS = tuple(PARTS["hair_colors"])
BACKGROUNDS = tuple(PARTS["backgrounds"])


def _variants(*numbers: int) -> frozenset[str]:
    return frozenset(f"variant{n:02d}" for n in numbers)


HAIR = {
    "long_hair": frozenset(PARTS["hair"]["long"]["parts"]),
    "short_hair": frozenset(PARTS["hair"]["short"]["parts"]),
    "bald": frozenset({"short12", "short19"}),
    "ponytail": frozenset({"long19"}),
    "twintails": frozenset({"long14", "long15"}),
    "hair_bun": frozenset({"long10", "long11", "long12", "long13", "long23", "short05"}),
    "braid": frozenset({"long16"}),
    "hair_flower": frozenset({"long03", "long08", "long18"}),
}
MOUTH = {
    "open_mouth": frozenset(PARTS["mouth"]["open"]["parts"]),
    "closed_mouth": frozenset(PARTS["mouth"]["closed"]["parts"]),
    "teeth": _variants(5, 7, 11, 14, 15, 22, 23, 25, 26, 28),
    "tongue_out": _variants(12, 16),
    "lipstick": _variants(5, 6, 7, 8),
    "smile": _variants(1, 2, 5, 22, 23, 24, 25, 26, 27, 28, 29, 30),
    "frown": _variants(3, 4, 13, 14),
}
EYES = {
    "closed_eyes": frozenset(PARTS["eyes"]["closed"]["parts"]),
    "open_eyes": frozenset(PARTS["eyes"]["open"]["parts"]),
    "half-closed_eyes": frozenset(PARTS["eyes"]["half"]["parts"]),
    "one_eye_closed": frozenset(PARTS["eyes"]["wink"]["parts"]),
}
SUNGLASSES = "variant01"
VISIBLE = {"glasses": 12, "earrings": 5, "features": 4}
"""Pixels of 144 x 144 that a part must change to count as seen."""

TAGS = (
    *HAIR, *HAIR_COLORS, *MOUTH, *EYES,
    "glasses", "sunglasses", "earrings", "blush", "freckles", "mustache", "dark_skin", *BACKGROUNDS,
)  # fmt: skip


def tags_of(parts: dict) -> set[str]:
    """Tags that are true of a picture drawn with these parts.

    A part that the hair hides does not count, nor do eyes behind sunglasses, nor the hair colour
    of a shaven head.
    """

    def seen(part: str) -> str | None:
        return parts[part] if parts[part] and parts["visible"][part] >= VISIBLE[part] else None

    tags = {tag for tag, shapes in HAIR.items() if parts["hair"] in shapes}
    tags |= {tag for tag, shapes in MOUTH.items() if parts["mouth"] in shapes}
    if parts["glasses"] == SUNGLASSES:
        tags.add("sunglasses")
    else:
        tags |= {tag for tag, shapes in EYES.items() if parts["eyes"] in shapes}
        tags |= {"glasses"} if seen("glasses") else set()
    tags |= {"earrings"} if seen("earrings") else set()
    tags |= {seen("features")} & {"blush", "freckles", "mustache"}  # a birthmark has no tag
    tags |= {parts["hair_color"]} if parts["hair"] != "short19" else set()
    tags |= {"dark_skin"} if parts["skin"] in ("brown", "dark") else set()
    return tags | {parts["background"]}


def label_matrix(parts: list[dict]) -> np.ndarray:
    """(n, tags) float32 of zeros and ones in the order of TAGS."""
    return np.array([[tag in of for tag in TAGS] for of in map(tags_of, parts)], np.float32)
