"""``python -m latentedit``."""

from latentedit.cli import run

run()
