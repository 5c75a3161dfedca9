"""Makes the pictures of README.md from the bundled generator and the shipped directions.

python scripts/pictures.py
"""

from __future__ import annotations

from pathlib import Path

import latentedit as le
from latentedit.sheet import edit_sheet, seeded_faces
from latentedit.images import grid

FOLDER = Path(__file__).parents[1] / "docs" / "images"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = le.load_generator("avatar")
    bank = le.DirectionBank.load_default(generator)
    grid(generator.decode(generator.sample_codes(range(64))), 16).save(FOLDER / "random-faces.png", optimize=True)
    faces = seeded_faces(generator, range(1, 9))
    edit_sheet(generator, bank, ["long_hair"], faces)[0].save(FOLDER / "edit-long_hair.png", optimize=True)
    tags = ["long_hair", "open_mouth", "closed_eyes", "glasses"]
    edit_sheet(generator, bank, tags, faces)[0].save(FOLDER / "edit-several.png", optimize=True)


if __name__ == "__main__":
    main()
