"""Makes the pictures of README.md and docs/ from the bundled generator and the shipped directions.

python scripts/pictures.py
"""

from __future__ import annotations

import re
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import latentedit as le
from latentedit.editing.faces import PreparedFaces
from latentedit.editing.sheets import edit_sheet, sides_sheet
from latentedit.generators import Generator
from latentedit.metrics import tagger_agreement
from latentedit.pictures.grid import grid
from latentedit.samples.fill import pictures_of

FOLDER = Path(__file__).parents[1] / "docs" / "images"


def eyes() -> None:
    """A stranger's weights, of the package omniart-eye-generator, along their first SeFa direction."""
    package = distribution("omniart-eye-generator")
    weights = package.locate_file("omniart_eye_generator/generator_model_state.pth")
    generator = le.load_generator(f"dcgan:{weights}?labels=8")
    bank = le.fit_directions(generator, finder="sefa")
    faces = le.Faces(seeds=range(3), label=1).prepare(generator)
    edit_sheet(faces, bank, "sefa_00", steps=7).save(FOLDER / "edit-eyes.png", optimize=True)


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


def save(picture: Image.Image, name: str) -> None:
    """Write a picture in 32 levels a channel: half the bytes, and nothing that an eye would see."""
    levels = np.asarray(picture.convert("RGB")) / 8
    Image.fromarray((levels.round() * 8).clip(0, 255).astype(np.uint8)).save(FOLDER / name, optimize=True)


def study() -> None:
    """The study's first table in docs/results.md as a plot, read from the page so that both show the same."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cell = r"(\S+) \[(\S+), (\S+)\]"
    row = re.compile(rf"\| (mouth|hair|eyes|) ?\| (\S+ \S+(?: σ)?) \| {cell} \| {cell} \|")
    edits: dict[str, dict[str, list[float]]] = {}
    for edit, method, *numbers in row.findall((FOLDER.parent / "results.md").read_text(encoding="utf-8")):
        edits.setdefault(edit or list(edits)[-1], {})[method] = [float(number) for number in numbers]
    figure, axes = pyplot.subplots(1, len(edits), figsize=(9, 2.3), sharex=True, sharey=True, layout="constrained")
    colours = {"target rises by": "tab:blue", "others change by": "tab:orange"}
    for axis, (edit, methods) in zip(axes, edits.items(), strict=True):
        names = sorted(methods, key=lambda name: ("σ" in name, not name.startswith("SVD"), name))
        for place, name in enumerate(names):
            for start, colour in zip((0, 3), colours.values(), strict=True):
                value, low, high = methods[name][start : start + 3]
                axis.plot([low, high], [place, place], color=colour, alpha=0.5, lw=3, solid_capstyle="butt")
                axis.plot(value, place, "o", color=colour, ms=5)
        axis.set(title=edit, xlim=(-0.02, 1.02), yticks=range(len(names)), yticklabels=names)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles = [pyplot.Line2D([], [], marker="o", color=colour, lw=3) for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(FOLDER / "study.png", dpi=110)


def faces(generator: Generator, seeds: range) -> PreparedFaces:
    """Faces of seeds."""
    return le.Faces(seeds=seeds).prepare(generator)


TEN = [
    "long_hair", "short_hair", "open_mouth", "closed_mouth", "closed_eyes", "open_eyes", "glasses", "blue_hair",
    "blonde_hair", "red_hair",
]  # fmt: skip


def editors(generator: Generator, bank: le.DirectionBank, prior: le.Prior) -> None:
    """The same faces by a line, by that line settled, and by the prior."""
    shown, blocks, labels = faces(generator, range(1, 9)), [], []
    codes = shown.all_codes()
    blocks.append(shown.pictures())
    labels.append("before")
    for tag in ("long_hair", "closed_eyes"):
        for name, editor in {"line": bank, "settled": le.Settled(bank, prior), "prior": prior}.items():
            blocks.append(shown.pictures(le.edit(codes, editor, tag)))
            labels.append(f"+ {tag}, {name}")
    save(grid(torch.cat(blocks), 8, row_labels=labels, column_labels=list(shown.names)), "prior.png")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    generator = le.load_generator("avatar")
    bank, prior = le.DirectionBank.load_default(generator), le.Prior.load_default(generator)
    grid(generator.decode(generator.sample_codes(range(64))), 16).save(FOLDER / "random-faces.png", optimize=True)
    save(edit_sheet(faces(generator, range(40, 48)), prior, TEN), "edits.png")
    away = le.Edit("red_hair", opposite="black_hair")
    save(edit_sheet(faces(generator, range(4)), prior, away, steps=7), "strip-red_hair.png")
    several = ["long_hair", "open_mouth", "closed_eyes", "glasses"]
    save(edit_sheet(faces(generator, range(1, 9)), prior, several), "edit-several.png")
    save(edit_sheet(faces(generator, range(1, 9)), bank, several), "edit-lines.png")
    editors(generator, bank, prior)
    eyes()
    taggers(generator)
    study()


if __name__ == "__main__":
    main()
