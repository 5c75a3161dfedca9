"""The command line: each command parses, calls one library function, prints.

Results go to stdout (``--json`` for machines), progress to stderr. Exit code 0: done; 1: an error
that one line explains; 2: wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from latentedit import __version__
from latentedit.errors import LatentEditError
from latentedit.terminal import Progress, table

if TYPE_CHECKING:
    from torch import Tensor

    from latentedit.direction import DirectionBank
    from latentedit.generators import Generator


class Context:
    """What every command shares: device, batch size, and how to speak."""

    def __init__(self, device: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool) -> None:
        self.device, self.batch_size, self.threads, self.as_json, self.quiet = (
            device,
            batch_size,
            threads,
            as_json,
            quiet,
        )

    def prepare(self) -> None:
        """Set what torch needs before a command uses it."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise LatentEditError(f"device {self.device!r} cannot be used: {reason}; cpu always works") from error

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    def result(self, document: dict[str, Any], text: str) -> None:
        """The result on stdout: text for people, one JSON document for machines."""
        click.echo(json.dumps(document, indent=2) if self.as_json else text)

    def progress(self, what: str) -> Callable[[int, int], None] | None:
        """A progress callback that shows rate and time left, or None when quiet."""
        return None if self.quiet else Progress(what)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every working command takes, handed over as one Context."""
    import functools

    @functools.wraps(command)
    def wrapper(device: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool, **rest: Any) -> Any:
        context = Context(device, batch_size, threads, as_json, quiet)
        context.prepare()
        return command(context, **rest)

    options = [
        click.option("--device", default="cpu", show_default=True, help="as in torch: cpu, cuda, cuda:1, mps"),
        click.option(
            "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="pictures decoded at once"
        ),
        click.option("--threads", type=click.IntRange(1), help="of the processor; torch decides when not given"),
        click.option("--json", "as_json", is_flag=True, help="print one JSON document"),
        click.option("--quiet", is_flag=True, help="no progress"),
    ]
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper


class Ordered(click.Group):
    """A group that lists its commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="latentedit")
def cli() -> None:
    """Find sliders in a pretrained image generator, and use them.

    \b
    latentedit edit --tag long_hair          edit with the shipped directions
    latentedit sample                        draw and tag samples of a generator
    latentedit fit-directions                find a direction for every tag
    latentedit demo                          all of it, with a report
    """


def _refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise LatentEditError(f"{path} exists; name another file with --out, or overwrite it with --force")


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default="demo")
@click.option("--n", type=click.IntRange(200), default=3_000, show_default=True, help="samples to draw")
@common
def demo(context: Context, out: Path, n: int) -> None:
    """Sample, fit all finders, edit, re-score and write OUT/report.html (default: demo)."""
    from latentedit.demo import demo as run

    bars: dict[str, Progress] = {}

    def progress(step: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(step, Progress(step))(done, total)

    report = run(out, n=n, device=context.device, batch_size=context.batch_size, progress=progress)
    context.result({"report": str(report)}, f"wrote {report}; open it in a browser")


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default="samples")
@click.option("--generator", default="avatar", show_default=True, help="avatar, torch:package.module:factory, ...")
@click.option(
    "--tagger", default="avatar", show_default=True, help="avatar, torch:package.module:factory, ..., or none"
)
@click.option("--n", type=click.IntRange(1), default=10_200, show_default=True, help="samples to have in the end")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first sample")
@click.option(
    "--contents",
    type=click.Path(path_type=Path),
    help="folder of content pictures, for image-to-image generators  [default: the generator's own]",
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


@cli.command()
@click.argument("samples", type=click.Path(path_type=Path), default="samples")
@click.option("--tagger", required=True, help="avatar, torch:package.module:factory, ...")
@click.option("--contents", type=click.Path(path_type=Path), help="folder of the content pictures, if it has moved")
@common
def tag(context: Context, samples: Path, tagger: str, contents: Path | None) -> None:
    """Tag stored SAMPLES (default: samples) with another tagger, beside those that are there."""
    from latentedit import load_generator, load_tagger, open_samples
    from latentedit import tag as run

    stored = open_samples(samples)
    g = load_generator(stored.manifest.generator, device=context.device)
    t = load_tagger(tagger, device=context.device)
    tagged = run(
        stored,
        g,
        t,
        contents=contents,
        batch_size=context.batch_size,
        progress=context.progress("tag"),
        tagger_name=tagger,
    )
    context.result(
        {"samples": str(samples), "taggers": list(tagged.taggers)},
        f"{samples} has the tags of {', '.join(tagged.taggers)}",
    )


@cli.command("fit-directions")
@click.argument("samples", type=click.Path(path_type=Path), default="samples")
@click.option(
    "--finder", default="lasso", show_default=True, help="sefa, linear, lasso, svd, or another registered one"
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="only these tags; repeat it for several  [default: tags on 1-75 % of the samples]",
)
@click.option("--tagger", help="whose tags, when the samples have several")
@click.option(
    "--target", type=click.Choice(["binary", "score"]), default="binary", show_default=True, help="what is regressed"
)
@click.option("--generator", help="for sefa without samples; the samples name theirs")
@click.option("--out", type=click.Path(path_type=Path), help="[default: directions/FINDER.safetensors]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def fit_directions(
    context: Context, samples: Path, finder: str, tags: tuple[str, ...], tagger: str | None, target: str,
    generator: str | None, out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Find one direction per tag in SAMPLES (default: samples)."""
    from latentedit import fit_directions as run
    from latentedit import load_generator, open_samples
    from latentedit.directions import FINDERS

    FINDERS.get(finder)
    out = out or Path("directions") / f"{finder}.safetensors"
    _refuse_existing(out, force)
    if generator is not None and not samples.exists():
        source: Any = load_generator(generator, device=context.device)
        bank = run(source, finder=finder, progress=context.progress("fit"))
    else:
        source = open_samples(samples)
        g = load_generator(generator or source.manifest.generator, device=context.device) if finder == "sefa" else None
        bank = run(
            source,
            finder=finder,
            tags=tags or None,
            tagger=tagger,
            target=target,
            generator=g,
            progress=context.progress("fit"),
        )
    bank.save(out)
    context.result(
        {"directions": str(out), "tags": list(bank.tags)},
        f"{len(bank)} directions in {out}; see them with: latentedit list directions {out}",
    )


@cli.command()
@click.option("--tag", "tags", multiple=True, required=True, help="what to add; repeat it for several")
@click.option(
    "--directions", type=click.Path(path_type=Path), help="file of fit-directions  [default: the shipped ones]"
)
@click.option("--generator", help="[default: the one the directions were found in, when it can be told; else avatar]")
@click.option("--strength", type=float, help="in σ; negative goes the other way  [default: 3]")
@click.option(
    "--opposite", metavar="TAG[:RATIO]", help="tag to take away  [default: the tag's usual opposite, if it has one]"
)
@click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone")
@click.option("--layers", help="slots to move, by index, range or name, as in 0-3,5  [default: all]")
@click.option("--raw", is_flag=True, help="strength in the regression's own coefficients, as in the 2022 study")
@click.option(
    "--strip", is_flag=True, help="one column per strength, from -STRENGTH to +STRENGTH, instead of before and after"
)
@click.option("--steps", type=click.IntRange(2, 25), default=7, show_default=True, help="columns of a strip")
@click.option(
    "--content", type=click.Path(path_type=Path), help="your picture as content, for image-to-image generators"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first face")
@click.option(
    "--count", type=click.IntRange(1, 64), default=6, show_default=True, help="faces, of seeds SEED, SEED+1, ..."
)
@click.option("--allow-other-generator", is_flag=True, help="use directions of another generator")
@click.option("--out", type=click.Path(path_type=Path), help="[default: edit-TAG.png]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def edit(
    context: Context, tags: tuple[str, ...], directions: Path | None, generator: str | None, strength: float | None,
    opposite: str | None, no_opposite: bool, layers: str | None, raw: bool, strip: bool, steps: int,
    content: Path | None, seed: int, count: int, allow_other_generator: bool, out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Move faces along the direction of a tag and away from its opposite; writes a picture."""
    if opposite and no_opposite:
        raise click.UsageError("--opposite and --no-opposite exclude each other")
    out = out or Path(f"edit-{'-'.join(tags)}.png")
    _refuse_existing(out, force)
    from latentedit import load_generator
    from latentedit.editing import DEFAULT_STRENGTH, edit_sheet, read_content
    from latentedit.files import atomic_write

    g = load_generator(generator or "avatar", device=context.device)
    bank = _bank(g, directions, allow_other_generator)
    sheet, moves = edit_sheet(
        g, bank, tags, range(seed, seed + count), strength=DEFAULT_STRENGTH if strength is None else strength,
        opposite=None if no_opposite else opposite or "auto", layers=layers, unit="raw" if raw else "sigma",
        steps=steps if strip else None, content=read_content(g, content) if content else None,
    )  # fmt: skip
    with atomic_write(out) as temporary:
        sheet.save(temporary, "PNG")
    moved = ", ".join(f"{value:+.2f} {'' if raw else 'σ '}{tag}" for tag, value in moves.items())
    context.result({"picture": str(out), "moves": moves}, f"wrote {out}: {moved}")


def _bank(generator: Generator, path: Path | None, allow_other: bool) -> DirectionBank:
    from latentedit import DirectionBank

    if path is None:
        return DirectionBank.load_default(generator)
    bank = DirectionBank.load(path)
    if not allow_other:
        bank.check_generator(generator)
    return bank


@cli.group("list", cls=Ordered)
def listing() -> None:
    """What there is: generators, taggers, finders, tags, directions."""


def _list_registry(name: str, module: str, attribute: str) -> None:
    @listing.command(name, help=f"Names of the {name} that can be used.")
    @click.option("--json", "as_json", is_flag=True, help="print one JSON document")
    def command(as_json: bool) -> None:
        import importlib

        names = getattr(importlib.import_module(module), attribute).names()
        click.echo(json.dumps({name: names}, indent=2) if as_json else "\n".join(names))


_list_registry("generators", "latentedit.generators", "GENERATORS")
_list_registry("taggers", "latentedit.taggers", "TAGGERS")
_list_registry("finders", "latentedit.directions", "FINDERS")


@listing.command("tags")
@click.argument("samples", type=click.Path(path_type=Path), required=False)
@click.option("--tagger", help="whose tags  [default: avatar; of samples, the one they have]")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def list_tags(samples: Path | None, tagger: str | None, as_json: bool) -> None:
    """Tags that a tagger knows, or how often each is on SAMPLES."""
    if samples is None:
        from latentedit import load_tagger

        names = list(load_tagger(tagger or "avatar").tags)
        click.echo(json.dumps({"tags": names}, indent=2) if as_json else "\n".join(names))
        return
    from latentedit import open_samples

    stored = open_samples(samples)
    counts = dict(sorted(stored.tag_counts(tagger).items(), key=lambda item: -item[1]))
    rows = [[tag, str(count), f"{count / stored.rows:.1%}"] for tag, count in counts.items()]
    click.echo(
        json.dumps({"rows": stored.rows, "tags": counts}, indent=2)
        if as_json
        else table(["tag", "samples", "share"], rows)
    )


@listing.command("directions")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--cosines", is_flag=True, help="the whole matrix of cosines instead of each direction's nearest")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def list_directions(file: Path | None, cosines: bool, as_json: bool) -> None:
    """Directions of FILE (default: the shipped ones): σ, held-out score, support, nearest other direction."""
    from latentedit import DirectionBank, load_generator

    bank = DirectionBank.load(file) if file else DirectionBank.load_default(load_generator("avatar"))
    matrix = bank.cosines()
    if as_json:
        described = [
            {
                "tag": d.tag,
                "finder": d.finder,
                "sigma": d.sigma,
                "score": d.score,
                "support": d.support,
                "coefficient_norm": d.coefficient_norm,
            }
            for d in bank
        ]
        click.echo(
            json.dumps({"generator": bank.generator_id, "directions": described, "cosines": matrix.tolist()}, indent=2)
        )
    elif cosines:
        click.echo(
            table(
                ["", *bank.tags],
                [[tag, *(f"{c:+.2f}" for c in row)] for tag, row in zip(bank.tags, matrix.tolist(), strict=True)],
            )
        )
    else:
        click.echo(
            table(["tag", "finder", "σ", "held-out R²", "support", "nearest", "cosine"], _direction_rows(bank, matrix))
        )


def _direction_rows(bank: DirectionBank, matrix: Tensor) -> list[list[str]]:
    rows = []
    for i, d in enumerate(bank):
        others = [(abs(float(matrix[i, j])), j) for j in range(len(bank)) if j != i]
        nearest, cosine = (
            (bank.tags[max(others)[1]], f"{float(matrix[i, max(others)[1]]):+.2f}") if others else ("", "")
        )
        score = "" if d.score is None else f"{d.score:.3f}"
        support = "" if d.support is None else str(d.support)
        rows.append([d.tag, d.finder, f"{d.sigma:.3f}", score, support, nearest, cosine])
    return rows


def _fail(message: str) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    raise SystemExit(1)


def main() -> None:
    """Entry point: the one place that turns errors into exit codes, and warnings into lines."""
    warnings.showwarning = lambda message, *rest: click.echo(f"warning: {message}", err=True)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from None
    except LatentEditError as error:
        _fail(" ".join(str(error).split()))
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; what was written is whole, and the same command goes on from there")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except MemoryError:
        _fail("out of memory; try a smaller --batch-size")
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"cannot use{place}: {error.strerror or error}")


if __name__ == "__main__":
    main()
