"""``python -m latentedit.cli``."""

from latentedit.cli import run

run()
