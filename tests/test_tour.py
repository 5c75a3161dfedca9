"""The notebook ``docs/tour.ipynb``, executed by a kernel in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parent.parent / "docs" / "tour.ipynb"


def shown(cell: Any) -> list[tuple[str, ...]]:
    """What kinds of output a cell has."""
    return [(one.output_type, *sorted(one.get("data", {}))) for one in cell.outputs]


def printed(cell: Any) -> str:
    return "".join(one.text for one in cell.outputs if one.output_type == "stream")


@pytest.mark.filterwarnings("ignore")  # of the kernel's own packages
def test_the_tour_runs_and_shows_what_the_page_shows(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TOUR.parent.parent))
    page = nbformat.read(TOUR, as_version=4)
    nbformat.validate(page)
    stored = [cell for cell in page.cells if cell.cell_type == "code"]
    again = nbformat.read(TOUR, as_version=4)
    NotebookClient(again, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    codes = [cell for cell in again.cells if cell.cell_type == "code"]
    assert [shown(cell) for cell in codes] == [shown(cell) for cell in stored]
    assert sum("image/png" in kinds for cell in codes for kinds in shown(cell)) >= 3
    assert sum("text/html" in kinds for cell in codes for kinds in shown(cell)) >= 4
    told = "".join(map(printed, codes))
    assert "long_hair" in told and "prior: rises by" in told
    assert (tmp_path / "samples" / "manifest.json").is_file() and (tmp_path / "linear.safetensors").is_file()
    for cell in stored:
        assert cell.execution_count and "Traceback" not in str(cell.outputs)
