"""The option that names the judge, and the line that says who judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context

if TYPE_CHECKING:
    from latentedit.editing.editors import OwnEditor
    from latentedit.generators import Generator
    from latentedit.metrics.judges import Judge

judge_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--judge",
    help="tagger that scores  [default: the one that ships for the generator, else the one that the edits were "
    "fitted with]",
)
"""``--judge NAME``; None where it was not typed."""


def load_judge(context: Context, generator: Generator, editors: Mapping[Path, OwnEditor], named: str | None) -> Judge:
    """The judge that was asked for, or the one that is taken else; says which in a line.

    Args:
        context: of the command.
        generator: whose pictures are judged.
        editors: by their files; a judge that one of them names is looked for near it.
        named: by the user.

    Raises:
        LatentEditError: as :func:`latentedit.metrics.judges.choose_judge`; one that is code, and only a file names it.
    """
    from latentedit.editing.editors import tagger_name_of
    from latentedit.editing.ingredients import found_name
    from latentedit.metrics.judges import choose_judge, fitted_with

    name, ids = fitted_with(editors.values())
    file = next((file for file, editor in editors.items() if name and tagger_name_of(editor) == name), None)
    fitted = (found_name(name, file), ids)
    judge = choose_judge(generator, named, fitted=fitted, device=context.device, runs_code=False)
    context.say(str(judge))
    return judge
