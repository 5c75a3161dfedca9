"""The package as a whole: declared imports, light imports, the wheel, and running without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from imports import FILES, imports
from places import ROOT

import latentedit


def test_no_code_among_the_data() -> None:
    for folder in ("data", "directions"):
        assert (ROOT / folder).is_dir()
        assert not list((ROOT / folder).rglob("*.py"))


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == latentedit.__version__
    for name in ("CHANGELOG.md", "CITATION.cff"):
        assert latentedit.__version__ in (ROOT / name).read_text(encoding="utf-8")


def test_every_import_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    declared = {re.split(r"[><=\[ ]", line)[0] for line in [*project["dependencies"], *extras]}
    used = {name.split(".")[0] for path in FILES for name in imports(path)}
    used -= set(sys.stdlib_module_names) | {"latentedit"}
    names = {"PIL": "pillow", "sklearn": "scikit-learn", "fontTools": "fonttools"}
    assert {names.get(name, name) for name in used} <= declared


# Fresh interpreters


def python(
    *arguments: str, cwd: Path, path: Path | None = ROOT, extra: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python in ``cwd`` with nothing but ``path`` in PYTHONPATH; it must succeed."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | (extra or {})
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


HEAVY = ("torch", "numpy", "pandas", "scipy", "sklearn", "pyarrow", "matplotlib", "click", "rich")


def test_importing_is_light(tmp_path: Path) -> None:
    code = f"import sys, latentedit; dir(latentedit); print([name for name in {HEAVY} if name in sys.modules])"
    assert python("-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_help_imports_no_torch(tmp_path: Path) -> None:
    done = python("-X", "importtime", "-m", "latentedit.cli", "--help", cwd=tmp_path)
    assert "Usage" in done.stdout
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "click" in names and "torch" not in names


def test_public_names_are_there(tmp_path: Path) -> None:
    code = "import latentedit as le; print([name for name in le.__all__ if getattr(le, name) is None])"
    assert python("-c", code, cwd=tmp_path).stdout.strip() == "[]"


def test_a_bare_checkout_runs(tmp_path: Path) -> None:
    done = python(str(ROOT / "cli.py"), "--help", cwd=tmp_path, path=None)
    assert "Usage" in done.stdout


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly built wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    python("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT, path=None)
    (built,) = folder.glob("*.whl")
    return built


def shipped_files() -> set[str]:
    """Names of the files under data/ and directions/, without hidden ones and caches."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in ("data", "directions")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith((".tmp", ".partial"))
    }


def test_the_wheel_holds_code_and_data_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    roots = {name.split("/")[0] for name in names}
    assert roots == {"latentedit", f"latentedit-{latentedit.__version__}.dist-info"}
    assert {f"latentedit/_shipped/{name}" for name in shipped_files()} <= names
    assert {path.relative_to(ROOT).as_posix() for path in FILES} <= names
    assert {"latentedit/py.typed", "latentedit/pictures/templates/report.html"} <= names
    assert f"latentedit-{latentedit.__version__}.dist-info/licenses/LICENSE" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
    assert wheel.stat().st_size <= 32e6, "too heavy: half precision for weights, 32 levels for pictures"


def test_the_wheel_installs_and_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if uv:
        command = [uv, "pip", "install", "--quiet", "--offline", "--python", sys.executable]
    else:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-compile"]
    subprocess.run([*command, "--no-deps", "--target", str(target), str(wheel)], check=True, timeout=240, cwd=tmp_path)
    assert (target / "bin" / "latentedit").is_file()

    done = python("-m", "latentedit.cli", "--help", cwd=tmp_path, path=target)
    assert "Usage" in done.stdout
    code = "import sys; from latentedit.shipped import shipped; [print(shipped(name)) for name in sys.argv[1:]]"
    places = python("-c", code, *sorted(shipped_files()), cwd=tmp_path, path=target).stdout.splitlines()
    assert places and all(place.startswith(str(target / "latentedit" / "_shipped")) for place in places)
