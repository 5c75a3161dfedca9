"""``sample``: style codes and tags of a generator."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli.common import Context, cli, common, how_many, rows_kept
from latentedit.cli.tagging import TAGGER_HELP


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default="samples")
@click.option(
    "--generator",
    default="avatar",
    show_default=True,
    help="avatar, gnr:FILE, stylegan2:FILE, nvlabs:FILE, ..., torch:package.module:factory",
)
@click.option("--tagger", default="avatar", show_default=True, help=f"{TAGGER_HELP}, or none")
@how_many(10_200, "samples to have in the end", old="")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first sample")
@click.option(
    "--contents",
    type=click.Path(path_type=Path),
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
@click.option("--keep-images", is_flag=True, help="store the pictures as well")
@common
def sample(
    context: Context, out: Path, generator: str, tagger: str, n: int, seed: int, contents: Path | None,
    styles_per_content: int, truncation: float, label: int | None, keep_images: bool,
) -> None:  # fmt: skip
    """Draw N style codes into OUT (default: samples), decode and tag them.

    The same command goes on where a stopped one ended; a larger --n adds to what is there.
    """
    from latentedit import load_generator, load_tagger
    from latentedit import sample as run

    g = load_generator(generator, device=context.device)
    t = None if tagger == "none" else load_tagger(tagger, device=context.device)
    context.say(f"{n} codes of {g.dim} numbers need about {n * (g.dim * 4 + 100) / 1e6:.0f} MB in {out}")
    context.kept = lambda: rows_kept(out)
    samples = run(
        g, out, tagger=t, n=n, seed=seed, contents=contents, styles_per_content=styles_per_content,
        truncation=truncation, label=label, batch_size=context.batch_size, keep_images=keep_images,
        generator_name=generator, tagger_name=tagger if t else None, progress=context.progress("sample"),
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
    top = ", ".join(f"{tag} {count}" for tag, count in list(counts.items())[:6])
    context.result(
        document, f"{samples.rows} samples in {out} ({size / 1e6:.1f} MB)" + (f"; most frequent: {top}" if top else "")
    )
