"""``sample``: style codes and tags of a generator."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentedit.cli.common import Context, Place, cli, common, how_many, rows_kept
from latentedit.cli.tagging import TAGGER_HELP, most_frequent
from latentedit.cli.terminal import file_size
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.generators import Generator
    from latentedit.samples.expected import Expected


@cli.command()
@click.argument("out", type=Place(), default="samples")
@click.option(
    "--generator",
    default="avatar",
    show_default=True,
    help="avatar, gnr:FILE, stylegan2:FILE, nvlabs:FILE, ..., torch:package.module:factory",
)
@click.option("--tagger", help=f"{TAGGER_HELP}, or none  [default: the one that ships for the generator, else none]")
@how_many(10_200, "samples to have in the end", old="")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first sample")
@click.option(
    "--contents",
    type=Place(),
    help="folder of content pictures, or one picture, for image-to-image generators  [default: the generator's own]",
)
@click.option(
    "--styles-per-content",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="samples in a row with the same content",
)
@click.option(
    "--truncation", type=float, default=1.0, show_default=True, help="1 for none, towards 0 for the mean code"
)
@click.option("--label", type=int, help="class, for conditional generators")
@click.option("--keep-images", is_flag=True, help="store the pictures in the samples as well")
@click.option(
    "--images",
    type=Place(),
    help="folder to write a picture of each sample to, SEED.png, for people to label; also of samples that there are",
)
@click.option("--force", is_flag=True, help="go on although the disk seems too small")
@common
def sample(
    context: Context, out: Path, generator: str, tagger: str | None, n: int, seed: int, contents: Path | None,
    styles_per_content: int, truncation: float, label: int | None, keep_images: bool, images: Path | None, force: bool,
) -> None:  # fmt: skip
    """Draw N style codes into OUT (default: samples), decode and tag them.

    The same command goes on where a stopped one ended; a larger -n adds to what is there. With --images, -n may be
    smaller, for pictures of the first N; without -n they are of all that OUT holds.
    """
    from latentedit import sample as run

    g = context.generator(generator)
    tagger = tagger or _tagger_of(context, g)
    t = None if tagger == "none" else context.tagger(tagger)
    if images is not None and not _given("n"):
        n = _rows_in(out) or n
    context.kept = lambda: rows_kept(out)
    samples = run(
        g, out, tagger=t, n=n, seed=seed, contents=contents, styles_per_content=styles_per_content,
        truncation=truncation, label=label, batch_size=context.batch_size, keep_images=keep_images, images=images,
        generator_name=generator, tagger_name=tagger if t else None, progress=context.progress("sample"),
        images_progress=context.progress("pictures"),
        expected=lambda found: _check_room(context, found, out, images, force),
    )  # fmt: skip
    counts = dict(sorted(samples.tag_counts().items(), key=lambda item: -item[1])) if t else {}
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    document = {
        "samples": str(out),
        "rows": samples.rows,
        "generator": samples.generator_id,
        "bytes": size,
        "tags": counts,
    }
    text = f"{samples.rows} samples in {out} ({file_size(size)})"
    if images is not None:
        shown = samples.manifest.pictures_among(n)
        document["images"] = {"folder": str(images), "pictures": shown}
        text += f", pictures of {shown} of them in {images}"
    context.result(document, text + most_frequent(counts, "; most frequent: "))


def _tagger_of(context: Context, generator: Generator) -> str:
    """The name of the tagger that ships for a generator, else "none", with a line; no tagger of other pictures."""
    ships: str = getattr(generator, "default_tagger", "none")
    if ships == "none":
        context.say(
            f"no tagger ships for {generator.id}, so the samples get no tags; name one with --tagger, here or in "
            "`latentedit tag`"
        )
    return ships


def _given(parameter: str) -> bool:
    """Whether the user gave an option, in whatever way."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not click.core.ParameterSource.DEFAULT


def _rows_in(samples: Path) -> int:
    """Rows of a stored run; 0 where there is none."""
    from latentedit.samples.manifest import NAME, read_manifest

    return read_manifest(samples).rows if (samples / NAME).exists() else 0


def _check_room(context: Context, expected: Expected, out: Path, images: Path | None, force: bool) -> None:
    """Say how much disk the work takes.

    Raises:
        LatentEditError: that is more than is free.
    """
    begun = _rows_in(out) > 0  # else what is there is a manifest
    there = f" ({file_size(expected.there)} of them there)" if begun and expected.there < expected.samples else ""
    wanted = f"about {file_size(expected.samples)} in {out}{there}"
    needs = [(out, expected.samples - expected.there)]
    if images is not None and expected.files:
        wanted += f" and {file_size(expected.pictures)} of pictures in {images}"
        needs.append((images, expected.on_disk))
    context.say(f"disk: {wanted}")
    taken: dict[int, int] = {}
    for folder, size in needs:
        place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
        disk = place.stat().st_dev
        taken[disk] = taken.get(disk, 0) + size
        free = shutil.disk_usage(place).free
        if taken[disk] > free and not force:
            raise LatentEditError(
                f"the work needs {wanted}, and {file_size(free)} are free at {place}; make room, take a smaller -n, "
                "or go on with --force"
            )
