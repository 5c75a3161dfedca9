"""``info``: what a file is. ``convert``: directions and codes of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from latentedit.cli.common import Context, cli, common
from latentedit.terminal import table

if TYPE_CHECKING:
    from latentedit.inspection import GeneratorInfo


@cli.command()
@click.argument("file")
@common
def info(context: Context, file: str) -> None:
    """Say what FILE is: a generator's layers and id, or what a file that is none seems to be.

    FILE is a path whose kind is found out, or a generator's name such as gnr:PATH.
    """
    from latentedit.inspection import inspect_generator

    described = inspect_generator(file)
    context.result(described.document(), _text(described))


def _text(described: GeneratorInfo) -> str:
    """The description for people."""
    lines = [described.name]
    if described.title:
        origin = f" ({described.part})" if described.part else ""
        lines[0] += f": {described.title}{origin}, {described.container}"
    side = described.resolution
    lines.append(f"  pictures    {side} x {side}")
    classes = f", {described.labels} classes" if described.labels else ""
    lines.append(
        f"  latents     z {described.z_dim}, style code {described.dim}, {len(described.layers)} slots{classes}"
    )
    if described.parameters is not None and described.memory is not None:
        lines.append(f"  parameters  {described.parameters / 1e6:.2f} M, {described.memory / 1e6:.1f} MB in float32")
    lines.append(f"  id          {described.id}")
    lines += [f"  note        {note}" for note in described.notes]
    if any("width" in layer for layer in described.layers):
        rows = [
            [str(i), layer["name"], f"{layer['resolution']} x {layer['resolution']}", str(layer["width"])]
            for i, layer in enumerate(described.layers)
        ]
        lines += ["", table(["slot", "layer", "resolution", "style width"], rows)]
    return "\n".join(lines)
