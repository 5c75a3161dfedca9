"""Fixtures that several test files use."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # One of several processes on the same cores: threads that wait for a core would take many times as long, most of
    # all if they wait busily. Set before torch and TensorFlow are imported; processes that tests start have it as well.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    for kind in ("INTRAOP", "INTEROP"):
        os.environ.setdefault(f"TF_NUM_{kind}_THREADS", "1")

import torch  # noqa: E402

from latentedit import cli  # noqa: E402

gc.set_threshold(50_000, 20, 50)  # Keras makes objects by the million that stay: looking for cycles took a fifth of all


def pytest_collection_finish() -> None:
    """What is there when the first test runs stays there: nobody need look at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run a command in a folder of its own: run("sample", ...) -> (exit code, stdout, stderr)."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["latentedit", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    torch.set_num_threads(threads)  # the option --threads is for the process


@pytest.fixture(scope="session")
def small_model() -> Any:
    """A Keras model of DeepDanbooru's kind with a dozen layers; the fixture's has hundreds, which take seconds each."""
    import keras_models

    return keras_models.small()


@pytest.fixture(scope="session")
def small_project(small_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its project folder; not to be changed."""
    import keras_models

    return keras_models.project(tmp_path_factory.mktemp("small") / "project", small_model, ".keras")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each number of threads that torch may use, for the test alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Puts an object behind the name of a factory."""

    def name(thing: Any) -> str:
        module = type(sys)("given")
        module.factory = lambda: thing  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "given", module)
        return "torch:given:factory"

    return name
