"""``info``: what a file is. ``convert``: directions and codes of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from latentedit.cli.common import Context, OutFile, Place, cli, common, refuse_existing
from latentedit.cli.terminal import table

if TYPE_CHECKING:
    from latentedit.directions.formats import Rows
    from latentedit.inspection import EditorInfo, GeneratorInfo, StoredInfo, TaggerInfo


@cli.command()
@click.argument("file")
@common
def info(context: Context, file: str) -> None:
    """Say what FILE is.

    A generator's layers and id, a tagger's tags, directions, a prior and how well it knows its tags, samples, moments,
    a re-scoring, a recipe or a picture with one, a study, or what a file that is none of these seems to be. FILE is a
    path whose kind is found out, a folder of samples or of a study too, or the name of a generator or tagger such as
    gnr:PATH or onnx:DIR.
    """
    from latentedit.files import home_of
    from latentedit.inspection import (
        inspect_editor,
        inspect_generator,
        inspect_stored,
        inspect_tagger,
        is_editor,
        is_tagger,
    )

    file = home_of(file)
    if (stored := inspect_stored(file)) is not None:
        context.result(stored.document(), _text_of_stored(stored))
        return
    if is_editor(file):
        editor = inspect_editor(file)
        context.result(editor.document(), _text_of_editor(editor))
        return
    if is_tagger(file):
        tagger = inspect_tagger(file)
        context.result(tagger.document(), _text_of_tagger(tagger))
        return
    described = inspect_generator(file)
    context.result(described.document(), _text(described))


@cli.command()
@click.argument("source", type=Place())
@click.argument("target", type=OutFile())
@click.option("--generator", help="whose directions or codes they are; needed for directions of other projects")
@click.option(
    "--tag", "tags", multiple=True, help="which directions; where SOURCE has no names, one for each direction in it"
)
@click.option(
    "--as",
    "rows",
    type=click.Choice(["directions", "slots", "faces"]),
    help="what the rows of an array are: directions, the slots of one, or codes, one a face  [default: asked where "
    "several fit]",
)
@click.option("--from", "source_format", metavar="FORMAT", help="[default: by what SOURCE holds]")
@click.option("--to", "target_format", metavar="FORMAT", help="[default: by how TARGET ends]")
@click.option("--force", is_flag=True, help="overwrite TARGET")
@common
def convert(
    context: Context, source: Path, target: Path, generator: str | None, tags: tuple[str, ...],
    rows: Rows | Literal["faces"] | None, source_format: str | None, target_format: str | None, force: bool,
) -> None:  # fmt: skip
    """Turn directions or style codes of another project into ours, or the other way.

    \b
    FORMAT is one of
      latentedit     .safetensors  our directions
      interfacegan   .npy          boundary, (1, d), unit length
      npy, pt        .npy .pt      one direction, (d,) or (slots, d): e4e, PTI; (k, d): k of them (read only)
      named          .npz .pt      name -> (d,) or (slots, d), as of np.savez or torch.save
      csv            .csv .tsv     a row a direction, with a column of names or without (read only)
      ganspace       .npz          components (read only)
      factor         .pt           rosinality's SeFa (read only)
      halcy          .pkl          tag -> (slots, d) (read only)
      latents-npy    .npy          codes, (n, d) or (n, slots, d): w.npy, e4e
      latents-pt     .pt           codes: e4e, PTI
      projected-w    .npz          codes of NVIDIA's projector
      projector      .pt           codes of rosinality's projector (read only)
    """
    refuse_existing(target, force)
    from latentedit.directions.formats import convert_file

    done = convert_file(
        source, target, generator=context.generator(generator) if generator else None,
        tags=tags or None, source_format=source_format, target_format=target_format, rows=rows,
        generator_name=generator or "",
    )  # fmt: skip
    document = {
        "target": str(target), "holds": done.holds, "from": done.source_format, "to": done.target_format,
        "names": list(done.names), "shape": list(done.shape),
    }  # fmt: skip
    count = f"{len(done.names)} {done.holds if len(done.names) > 1 else done.holds[:-1]}"
    context.result(document, f"wrote {target}: {count} ({done.source_format} to {done.target_format})")


def _text(described: GeneratorInfo) -> str:
    """The description for people."""
    lines = [described.name]
    if described.title:
        origin = f" ({described.part})" if described.part else ""
        lines[0] += f": {described.title}{origin}, {described.container}"
    height, width = described.picture_size
    lines.append(f"  pictures    {width} x {height}")
    slots = f"{len(described.layers)} slot{'s' if len(described.layers) > 1 else ''}"
    classes = f", {described.labels} classes" if described.labels else ""
    lines.append(f"  latents     z {described.z_dim}, style code {described.dim}, {slots}{classes}")
    if described.parameters is not None and described.memory is not None:
        lines.append(f"  parameters  {described.parameters / 1e6:.2f} M, {described.memory / 1e6:.1f} MB in float32")
    if described.weights:
        lines.append(f"  weights     {described.weights}")
    lines.append(f"  id          {described.id}")
    lines += [f"  note        {note}" for note in described.notes]
    if any("width" in layer for layer in described.layers):
        rows = [
            [layer["name"], str(i), _size_of(layer["resolution"], described), str(layer["width"])]
            for i, layer in enumerate(described.layers)
        ]
        lines += ["", table(["layer", "slot", "resolution", "style width"], rows)]
    return "\n".join(lines)


def _size_of(longer: int, described: GeneratorInfo) -> str:
    """Size of feature maps, which have the shape of the pictures."""
    height, width = (round(side * longer / max(described.picture_size)) for side in described.picture_size)
    return f"{width} x {height}"


def _text_of_stored(described: StoredInfo) -> str:
    """The description for people."""
    lines = [f"{described.name}: {described.holds}, {described.size / 1e6:.2f} MB"]
    for name, value in described.facts.items():
        shown = [str(one) for one in value] if isinstance(value, list) else [str(value)]
        more = f", ... ({len(shown)} in all)" if len(shown) > 8 else ""
        lines.append(f"  {name:<11} {', '.join(shown[:8])}{more}")
    return "\n".join(lines)


def _text_of_editor(described: EditorInfo) -> str:
    """The description for people."""
    tags = ", ".join(described.tags[:8]) + (", ..." if len(described.tags) > 8 else "")
    lines = [
        f"{described.name}: {described.holds}, {described.size / 1e6:.2f} MB",
        f"  generator   {described.generator_id}" + (f" ({described.generator_name})" * bool(described.generator_name)),
        *(f"  tagger      {one}" for one in described.taggers),
        f"  tags        {len(described.tags)}" + (f": {tags}" if tags else ""),
    ]
    for name, value in described.fitted.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        lines.append(f"  {name:<11} {', '.join(shown) if isinstance(shown, list) else shown}")
    if described.loss is not None:
        lines.append(f"  loss        {described.loss:.4f}")
    for i, one in enumerate(described.reading[:5]):
        note = "" if one.read else ", known only from samples"
        lines.append(f"  {'' if i else 'read worst':<11} {one.tag}: area under the ROC curve {one.shown_area}{note}")
    return "\n".join(lines)


def _text_of_tagger(described: TaggerInfo) -> str:
    """The description for people."""
    tags = ", ".join(described.tags[:8]) + (", ..." if len(described.tags) > 8 else "")
    lines = [
        f"{described.name}: a tagger",
        f"  tags        {len(described.tags)}: {tags}",
        f"  threshold   {described.threshold:g}",
    ]
    for value in sorted(set(described.thresholds.values())):
        names = [tag for tag, threshold in described.thresholds.items() if threshold == value]
        more = ", ..." if len(names) > 3 else ""
        lines.append(f"              {value:g} for {len(names)} of them: {', '.join(names[:3])}{more}")
    lines.append(f"  id          {described.id}")
    lines += [f"  {key:<11} {value}" for key, value in described.settings.items()]
    return "\n".join(lines)
