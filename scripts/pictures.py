"""Makes the pictures of README.md and docs/ from the bundled generator and the shipped directions.

python scripts/pictures.py
"""

from __future__ import annotations

import tempfile
from importlib.metadata import distribution
from pathlib import Path

import torch

import latentedit as le
from latentedit.editing.sheets import edit_sheet, seeded_faces, sides_sheet
from latentedit.generators import Generator
from latentedit.metrics import tagger_agreement
from latentedit.pictures.images import grid
from latentedit.samples.fill import pictures_of

FOLDER = Path(__file__).parents[1] / "docs" / "images"


def eyes() -> None:
    """A stranger's weights, of the package omniart-eye-generator, along their first SeFa direction."""
    package = distribution("omniart-eye-generator")
    weights = package.locate_file("omniart_eye_generator/generator_model_state.pth")
    generator = le.load_generator(f"dcgan:{weights}?labels=8")
    bank = le.fit_directions(generator, finder="sefa")
    faces = seeded_faces(generator, range(3), label=1)
    sheet, _ = edit_sheet(generator, bank, ["sefa_00"], faces, steps=7)
    sheet.save(FOLDER / "edit-eyes.png", optimize=True)


class Crude:
    """A tagger that looks at the colours of the picture's upper third."""

    id, tags, threshold = "crude:1", ("red_hair", "blue_hair", "green_hair", "pink_hair"), 0.5
    colours = torch.tensor([[0.6, 0.25, 0.25], [0.35, 0.5, 0.85], [0.35, 0.65, 0.35], [0.95, 0.5, 0.75]])

    def score(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures (n, 3, H, W) in [-1, 1] to the share of pixels near each colour, ten times over, (n, 4)."""
        pixels = (images[:, :, : images.shape[2] // 3].flatten(2).transpose(1, 2) + 1) / 2
        near = (pixels[:, :, None] - self.colours).norm(dim=3) < 0.15  # (n, pixels, 4)
        return (10 * near.float().mean(1)).clamp(0, 1)


def taggers(generator: Generator, *, n: int = 600) -> None:
    """The bundled tagger against a crude one, as ``compare-tags --picture`` shows it."""
    with tempfile.TemporaryDirectory() as folder:
        samples = le.tag(le.sample(generator, folder, tagger=le.load_tagger("avatar"), n=n), generator, Crude())
        found = tagger_agreement(samples)
        rows = []
        for j in found.seen[:3]:
            first, second = found.shown[j]
            pictures = pictures_of(samples, generator, [*first, *second])
            rows.append((found.tags[j], pictures[: len(first)], pictures[len(first) :]))
        sides_sheet(rows, "only avatar", "only crude").save(FOLDER / "compare-tags.png", optimize=True)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = le.load_generator("avatar")
    bank = le.DirectionBank.load_default(generator)
    grid(generator.decode(generator.sample_codes(range(64))), 16).save(FOLDER / "random-faces.png", optimize=True)
    faces = seeded_faces(generator, range(1, 9))
    edit_sheet(generator, bank, ["long_hair"], faces)[0].save(FOLDER / "edit-long_hair.png", optimize=True)
    eyes()
    taggers(generator)
    tags = ["long_hair", "open_mouth", "closed_eyes", "glasses"]
    edit_sheet(generator, bank, tags, faces)[0].save(FOLDER / "edit-several.png", optimize=True)


if __name__ == "__main__":
    main()
