"""The option of commands that draw the generator's own pictures, to see how natural edited ones are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context

if TYPE_CHECKING:
    from latentedit.editing.faces import Faces
    from latentedit.generators import Generator
    from latentedit.metrics.carriers import OwnPictures
    from latentedit.taggers import Tagger

DEFAULT = 2_000


def natural_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--natural N``; None where it was not typed."""
    return click.option(
        "--natural", type=click.IntRange(0), metavar="N",
        help="own pictures of the generator, at most, among which naturalness is seen; rare tags need 6000, 0: none  "
        f"[default: {DEFAULT} where edits are named]",
    )(command)  # fmt: skip


def draw_for(
    context: Context, generator: Generator, judge: Tagger, targets: Iterable[str], faces: Faces, *,
    natural: int, edited: int,
) -> tuple[OwnPictures | None, str]:  # fmt: skip
    """The generator's own pictures for these targets, None where none are wanted, and what the result must say.

    Args:
        context: of the command, which says how many pictures there are to decode.
        generator, judge: draw and score.
        targets: tags that are edited.
        faces: that are measured.
        natural: own pictures at most.
        edited: pictures that the measurement itself decodes.
    """
    from latentedit.metrics.carriers import draw_own, natural_networks
    from latentedit.taggers.tag_names import known_tags

    wanted = [tag for tag in dict.fromkeys(known_tags(targets, judge.tags)) if tag in judge.tags]
    if not natural or not wanted:
        context.say(f"{edited} pictures to decode; no own pictures, so nothing of naturalness, gap and ceiling")
        return None, ""
    networks, note = natural_networks(judge, device=context.device)
    context.say(
        f"{edited} pictures to decode, and up to {natural} of the generator's own for naturalness, gap and ceiling; "
        "--natural 0 leaves these out"
    )
    own = draw_own(
        generator, judge, wanted, faces, networks=networks, most=natural, batch_size=context.batch_size,
        progress=context.progress("own pictures"),
    )  # fmt: skip
    for tag in wanted if networks else ():
        if few := own.note(tag):
            context.say(few)
    return own, note
