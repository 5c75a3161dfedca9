"""``python -m latentedit.cli``."""

from latentedit.cli import main

main()
