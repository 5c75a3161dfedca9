# Each target sets the project up first (scripts/setup), which takes a moment the second time.
.PHONY: setup demo models test test-all lint wheel clean

unexport PYTHONDONTWRITEBYTECODE
PYTEST_ARGS ?=

setup:
	@scripts/setup dev

demo: setup
	.venv/bin/latentedit demo

models: setup
	$(MAKE) -C scripts/avatar models

test: setup
	.venv/bin/python -m pytest -n auto --dist loadfile -m "not slow" $(PYTEST_ARGS)

test-all: setup
	.venv/bin/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/mypy

wheel: setup
	.venv/bin/python -m hatchling build -t wheel -d dist

clean:
	rm -rf .venv build dist demo samples report .hypothesis .mypy_cache .pytest_cache .ruff_cache edit-*.png
	find latentedit scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
