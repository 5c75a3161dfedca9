"""The command line: each command parses, calls one library function, prints.

Results go to stdout (``--json`` for machines), progress to stderr. Exit code 0: done; 1: an error
that one line explains; 2: wrong usage; 130: Ctrl-C.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from typing import NoReturn

import click

from latentedit.cli import (  # noqa: F401  (they add their commands)
    comparing,
    editing,
    evaluating,
    files,
    fitting,
    folders,
    listing,
    priors,
    sampling,
    sliding,
    studying,
    tagging,
    training,
)
from latentedit.cli.common import Interrupted, cli
from latentedit.cli.terminal import speak_any_code_page
from latentedit.errors import LatentEditError, out_of_memory

INTERRUPTED = 130


def _fail(message: str, code: int = 1) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    raise SystemExit(code)


def run() -> None:
    """The program: :func:`main`, and after Ctrl-C an end by that signal, which alone stops the loop of a shell.

    A request to end, as batch systems send it before they kill, is taken as Ctrl-C: what is finished is kept.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except SystemExit as ended:
        if ended.code != INTERRUPTED:
            raise
        sys.excepthook = lambda *_: None
        raise KeyboardInterrupt from None  # Python ends by the signal; the shell calls that 130


_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Where one says how threads wait for one another; read once, when torch is loaded."""


def main() -> None:
    """Entry point: the one place that turns errors into exit codes, and warnings into lines."""
    if not any(name in os.environ for name in _WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # else waiting threads take the cores from whoever works
    speak_any_code_page()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata, which do not matter here
    logging.getLogger("PIL").setLevel(logging.CRITICAL)  # of damage, of which the error tells
    warnings.showwarning = lambda message, *rest: click.echo(f"warning: {message}", err=True)
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except click.exceptions.Exit as error:
        raise SystemExit(error.exit_code) from None
    except Interrupted as error:
        _fail(f"interrupted; {error}", INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; nothing was written", INTERRUPTED)
    except LatentEditError as error:
        _fail(" ".join(str(error).split()))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        _fail("out of memory; try a smaller --batch-size, or another --device")
    except OSError as error:
        place = f" {error.filename}" if error.filename else ""
        _fail(f"cannot use{place}: {error.strerror or error}")


__all__ = ["cli", "main", "run"]
