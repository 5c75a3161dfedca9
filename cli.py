from latentedit.cli import run

run()
