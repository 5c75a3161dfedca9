"""Which faces a command draws: seeds, codes or the styles of pictures, and what goes with them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latentedit.cli.common import Context, Place, how_many

if TYPE_CHECKING:
    from latentedit.editing.faces import Faces

Command = Callable[..., Any]


@dataclass(frozen=True)
class AskedFaces:
    """The options of :func:`face_options`, as they were typed."""

    content: str | None
    style: Path | None
    codes: Path | None
    label: int | None
    truncation: float
    seed: int
    n: int
    seeds: str | None
    given: frozenset[str]

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            UsageError: options that exclude each other.
            LatentEditError: seeds that are none.
        """
        from latentedit.editing.faces import parse_seeds

        if self.codes and self.style:
            raise click.UsageError("--codes and --style exclude each other")
        if self.seeds is None:
            return
        if self.codes or self.style:
            raise click.UsageError(f"--seeds and {'--codes' if self.codes else '--style'} exclude each other")
        if self.given & {"seed", "n"}:
            raise click.UsageError("--seeds says which faces and how many; leave --seed and -n out")
        parse_seeds(self.seeds)

    def load(self, context: Context) -> Faces:
        """The faces; one style with a folder of contents is shown with all of them.

        Raises:
            LatentEditError: seeds that are none, or a folder without pictures.
        """
        from latentedit.editing.faces import Faces, parse_seeds

        seeds: Sequence[int]
        count: int | None
        if self.seeds is not None:
            seeds, count = parse_seeds(self.seeds), None
        elif self.codes or self.style:
            seeds, count = (), self.n if "n" in self.given else None
        else:
            seeds, count = range(self.seed, self.seed + self.n), None
        faces = Faces(
            seeds=seeds, codes=self.codes, style=self.style, content=self.content, label=self.label,
            truncation=self.truncation, count=count,
        )  # fmt: skip
        return with_all_contents(context, faces, self._styles(seeds, count))

    def _styles(self, seeds: Sequence[int], count: int | None) -> int:
        """How many styles these faces have."""
        from latentedit.directions.formats import read_named_codes
        from latentedit.pictures.images import list_pictures

        if self.codes is not None:
            return len(read_named_codes(self.codes)[0][:count])
        if self.style is not None:
            return len(list_pictures(self.style)[:count]) if self.style.is_dir() else 1
        return len(seeds)


def with_all_contents(context: Context, faces: Faces, styles: int) -> Faces:
    """The same faces; one style with a folder of contents is shown with all of them.

    Raises:
        LatentEditError: a folder without pictures.
    """
    from dataclasses import replace

    from latentedit.pictures.images import list_pictures

    if styles != 1 or not isinstance(faces.content, str) or not Path(faces.content).is_dir():
        return faces
    several = len(list_pictures(faces.content))
    if several > 1:
        context.say(f"one style with all {several} contents of {faces.content}")
    return replace(faces, every_content=several > 1)


def face_options(command: Command) -> Command:
    """The options that say which faces, handed over as ``which``."""

    @functools.wraps(command)
    def wrapper(
        *positional: Any, content: str | None, style: Path | None, codes: Path | None, label: int | None,
        truncation: float, seed: int, n: int, seeds: str | None, **rest: Any,
    ) -> Any:  # fmt: skip
        context = click.get_current_context()
        given = {name for name in ("seed", "n") if context.get_parameter_source(name) != ParameterSource.DEFAULT}
        given |= {"n"} if context.params.get("old_n") is not None else set()
        which = AskedFaces(content, style, codes, label, truncation, seed, n, seeds, frozenset(given))
        return command(*positional, which=which, **rest)

    options: list[Callable[[Command], Command]] = [
        content_option,
        click.option(
            "--style", type=Place(),
            help="a picture, or a folder of them, whose style is edited instead of SEED's, for generators that read "
            "styles",
        ),
        click.option(
            "--codes", type=Place(), help="a file of codes to edit instead, as `convert` knows them"
        ),
        label_option,
        click.option(
            "--truncation", type=float, default=1.0, show_default=True, help="1 for none, towards 0 for the mean code"
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first face"),
        how_many(6, "faces: of seeds SEED, SEED+1, ...; of --style or --codes the first ones, else all"),
        click.option("--seeds", metavar="SEEDS", help="exactly these, as in 3,7,12-15, instead of --seed and -n"),
    ]  # fmt: skip
    decorated: Command = wrapper
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


class Picture(click.ParamType[str]):
    """A picture, a folder of them or a frame of a video; ``~`` is the home folder where no shell has said so."""

    name = "picture"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text with the home folder in it."""
        from latentedit.files import home_of

        return home_of(str(value))


content_option = click.option(
    "--content", type=Picture(), metavar="PICTURE",
    help="your picture, a folder of them, or a frame of a video (clip.mp4#t=12.5) as content, for image-to-image "
    "generators; one style is shown with all of a folder, several take them in turn",
)  # fmt: skip
label_option = click.option("--label", type=int, help="class, for conditional generators")
