# Each target sets the project up first (scripts/setup), which takes a moment the second time.
.PHONY: setup demo test lint wheel clean

unexport PYTHONDONTWRITEBYTECODE
PYTEST_ARGS ?=

setup:
	@scripts/setup dev

demo: setup
	.venv/bin/latentedit demo

test: setup
	.venv/bin/python -m pytest $(PYTEST_ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/mypy

wheel: setup
	.venv/bin/python -m hatchling build -t wheel -d dist

clean:
	rm -rf .venv build dist demo samples report .hypothesis .mypy_cache .pytest_cache .ruff_cache edit-*.png
	find latentedit scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
