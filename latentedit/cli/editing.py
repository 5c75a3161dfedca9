"""``edit``: the picture of an edit."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli.common import Context, cli, common, recorded_generator, refuse_existing


@cli.command()
@click.option("--tag", "tags", multiple=True, required=True, help="what to add; repeat it for several")
@click.option(
    "--directions", type=click.Path(path_type=Path), help="file of fit-directions  [default: the shipped ones]"
)
@click.option("--generator", help="[default: the one that the directions name, else avatar]")
@click.option("--strength", type=float, help="in σ; negative goes the other way  [default: 3]")
@click.option(
    "--opposite", metavar="TAG[:RATIO]", help="tag to take away  [default: the tag's usual opposite, if it has one]"
)
@click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone")
@click.option(
    "--pairs", type=click.Path(path_type=Path), help="your own opposites, in the form of directions/pairs.toml"
)
@click.option("--layers", help="slots to move, by index, range or name, as in 0-3,5  [default: all]")
@click.option("--raw", is_flag=True, help="strength in the regression's own coefficients, as in the 2022 study")
@click.option(
    "--strip", is_flag=True, help="one column per strength, from -STRENGTH to +STRENGTH, instead of before and after"
)
@click.option("--steps", type=click.IntRange(2, 25), default=7, show_default=True, help="columns of a strip")
@click.option(
    "--content",
    metavar="PICTURE",
    help="your picture, a folder of them, or a frame of a video (clip.mp4#t=12.5) as content, for image-to-image "
    "generators",
)
@click.option(
    "--style",
    type=click.Path(path_type=Path),
    help="a picture, or a folder of them, whose style is edited instead of SEED's, for generators that read styles",
)
@click.option(
    "--codes", type=click.Path(path_type=Path), help="a file of codes to edit instead, as `convert` knows them"
)
@click.option("--label", type=int, help="class, for conditional generators")
@click.option(
    "--truncation", type=float, default=1.0, show_default=True, help="1 for none, towards 0 for the mean code"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first face")
@click.option(
    "--count",
    type=click.IntRange(1, 64),
    default=6,
    show_default=True,
    help="faces: of seeds SEED, SEED+1, ..., or the first ones of --style or --codes",
)
@click.option("--allow-other-generator", is_flag=True, help="use directions of another generator")
@click.option("--out", type=click.Path(path_type=Path), help="[default: edit-TAG.png]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def edit(
    context: Context, tags: tuple[str, ...], directions: Path | None, generator: str | None, strength: float | None,
    opposite: str | None, no_opposite: bool, pairs: Path | None, layers: str | None, raw: bool, strip: bool,
    steps: int, content: str | None, style: Path | None, codes: Path | None, label: int | None, truncation: float,
    seed: int, count: int, allow_other_generator: bool, out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Move faces along the direction of a tag and away from its opposite; writes a picture."""
    if opposite and no_opposite:
        raise click.UsageError("--opposite and --no-opposite exclude each other")
    if codes and style:
        raise click.UsageError("--codes and --style exclude each other")
    out = out or Path(f"edit-{'-'.join(tags)}.png")
    refuse_existing(out, force)
    from latentedit import DirectionBank, load_generator
    from latentedit.directions.pairs import TagKnowledge
    from latentedit.editing.editor import DEFAULT_STRENGTH
    from latentedit.editing.sheets import edit_sheet, named_faces, seeded_faces
    from latentedit.files import atomic_write

    knowledge = TagKnowledge.load(pairs)
    bank = DirectionBank.load(directions) if directions else None
    named = recorded_generator(generator, bank.generator_name, directions) if bank and directions else generator
    g = load_generator(named or "avatar", device=context.device)
    if bank is None:
        bank = DirectionBank.load_default(g)
    elif not allow_other_generator:
        bank.check_generator(g)
    if codes or style:
        faces = named_faces(g, codes=codes, style=style, content=content, label=label, count=count)
    else:
        faces = seeded_faces(g, range(seed, seed + count), content=content, label=label, truncation=truncation)
    sheet, moves = edit_sheet(
        g, bank, tags, faces, strength=DEFAULT_STRENGTH if strength is None else strength,
        opposite=None if no_opposite else opposite or "auto", layers=layers, unit="raw" if raw else "sigma",
        steps=steps if strip else None, batch_size=context.batch_size, knowledge=knowledge,
    )  # fmt: skip
    with atomic_write(out) as temporary:
        sheet.save(temporary, "PNG")
    moved = ", ".join(f"{value:+.2f} {'' if raw else 'σ '}{tag}" for tag, value in moves.items())
    context.result({"picture": str(out), "moves": moves}, f"wrote {out}: {moved}")
