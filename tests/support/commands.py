"""What tests of the command line share."""

import json

TOY = ("--generator", "torch:toy:ToyGenerator")


def one_error(result):
    """The one line of an error; that a toy has no probe may be said before it, where nothing has said it yet."""
    code, out, err = result
    assert code in (1, 2) and out == "" and "Traceback" not in err
    err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("warning: no probe of toy:"))
    assert code == 2 or err.count("\n") == 1 and err.startswith("error: ")
    return err


def told(result):
    """The document of a command that was to succeed with --json."""
    code, out, err = result
    assert code == 0, err
    return json.loads(out)
