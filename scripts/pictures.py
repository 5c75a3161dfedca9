"""Makes the pictures of README.md from the bundled generator and the shipped directions.

python scripts/pictures.py
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import latentedit as le
from latentedit.images import grid
from latentedit.sheet import edit_sheet, seeded_faces

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


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = le.load_generator("avatar")
    bank = le.DirectionBank.load_default(generator)
    grid(generator.decode(generator.sample_codes(range(64))), 16).save(FOLDER / "random-faces.png", optimize=True)
    faces = seeded_faces(generator, range(1, 9))
    edit_sheet(generator, bank, ["long_hair"], faces)[0].save(FOLDER / "edit-long_hair.png", optimize=True)
    eyes()
    tags = ["long_hair", "open_mouth", "closed_eyes", "glasses"]
    edit_sheet(generator, bank, tags, faces)[0].save(FOLDER / "edit-several.png", optimize=True)


if __name__ == "__main__":
    main()
