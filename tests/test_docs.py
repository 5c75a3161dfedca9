"""Every ```python block of the README and of docs/ runs as it is printed, and every ```sql block of theirs by DuckDB.

The blocks of a page run in order, as one program, in an empty folder. A block whose first line is
``# name.py`` is saved as that file and imported; one marked ``python no-run`` is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "```python" in page.read_text(encoding="utf-8")
]
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`]*)$")
FILE = re.compile(r"^# (?P<name>\w+)\.py$")


_STATEMENTS = "duckdb.extract_statements"


def program(page: str) -> tuple[str, dict[str, str]]:
    """A page's code with every other line blank, so that line numbers stay; and its files by name."""
    lines = page.splitlines()
    kept, files = [""] * len(lines), {}
    block: list[str] | None = None
    start, info, indent = 0, "", 0
    for number, line in enumerate(lines):
        fence = FENCE.match(line)
        if block is None and fence:
            block, start, info, indent = [], number + 1, fence["info"].strip(), len(fence["indent"])
        elif block is not None and fence and not fence["info"].strip():
            named = FILE.match(block[0]) if block else None
            if info == "python" and named:
                files[f"{named['name']}.py"] = "\n".join(block) + "\n"
                kept[start] = f"import {named['name']}"
            elif info == "python":
                kept[start:number] = block
            elif info == "sql":  # every query finds something
                text = "\n".join(block)
                kept[start] = f"import duckdb; [duckdb.sql(s.query).fetchall()[0] for s in {_STATEMENTS}({text!r})]"
            block = None
        elif block is not None:
            block.append(line[indent:])
    assert block is None, f"the block in line {start} has no end"
    return "\n".join(kept) + "\n", files


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    code, files = program(page.read_text(encoding="utf-8"))
    assert code.strip(), f"{page.name} has no Python to run"
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / page.with_suffix(".py").name).write_text(code, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, page.with_suffix(".py").name], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{page.name} does not run (same line numbers):\n{done.stdout}{done.stderr}"
    if page.name == "README.md":  # it shows what its program prints
        assert done.stdout.strip() and done.stdout.strip() in page.read_text(encoding="utf-8"), done.stdout


def test_what_counts_as_code() -> None:
    page = "\n".join(
        ["```python", "a = 1", "```", "text", "```python no-run", "b", "```", "```console", "c", "```",
         "* ", "  ```python", "  # mine.py", "  d = 2", "  ```"]
    )  # fmt: skip
    code, files = program(page)
    assert "duckdb" not in code and "duckdb" in program("```sql\nselect 1\n```")[0]
    assert code.split("\n")[1] == "a = 1"
    assert [line for line in code.split("\n") if line] == ["a = 1", "import mine"]
    assert files == {"mine.py": "# mine.py\nd = 2\n"}


def test_a_broken_block_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nraise ValueError('here')\n```\n")
    with pytest.raises(AssertionError, match="here"):
        test_python_blocks_run(page, tmp_path)
