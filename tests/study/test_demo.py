"""The whole job, small: every finder, every picture, one report."""

import re

import pytest

from latentedit.directions.bank import DirectionBank
from latentedit.errors import LatentEditError
from latentedit.samples.store import open_samples
from latentedit.study.demo import EDITS, FINDERS, demo


@pytest.mark.slow
def test_the_demo_leaves_a_report_and_goes_on_from_what_is_there(tmp_path, monkeypatch):
    """Slow: it samples, fits four finders and re-scores, about 2,000 pictures of the bundled generator."""
    monkeypatch.setattr("latentedit.study.demo.OWN", 250)
    steps = []
    report = demo(tmp_path / "demo", n=400, measured=24, progress=lambda step, done, total: steps.append(step))
    page = report.read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(EDITS) + 1 + len(FINDERS) + 1  # and the prior
    page = re.sub('data:image/png;base64,[^"]*', "", page)
    natural = ("natural (efficientnet-lite0)", "natural (judge)", "ceiling", "elsewhere")
    for word in ("latentedit fit-directions", "closed_eyes", "selectivity", *natural, *FINDERS):
        assert word in page
    assert "NaN" not in page and ">nan<" not in page
    table = page[page.rindex("Did the target move") :]
    intervals = re.findall(r"\+0\.\d\d \[[+-]\d\.\d\d, \+\d\.\d\d\]", table)
    assert len(intervals) >= len(FINDERS)  # of how much each edit's target rises
    assert open_samples(tmp_path / "demo" / "samples").rows == 400
    for finder in FINDERS:
        assert len(DirectionBank.load(tmp_path / "demo" / f"{finder}.safetensors")) > 3
    assert steps[0] == "sample" and any("lasso" in step for step in steps)

    codes = (tmp_path / "demo" / "samples" / "codes-00000.parquet").stat().st_mtime_ns
    demo(tmp_path / "demo", n=400, measured=8)
    assert (tmp_path / "demo" / "samples" / "codes-00000.parquet").stat().st_mtime_ns == codes


def test_a_folder_that_cannot_be_made_is_told_in_a_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LatentEditError, match="file"):
        demo(tmp_path / "file" / "demo", n=300, measured=4)


def test_fewer_finders_and_faces_make_the_same_pages(tmp_path, monkeypatch):
    """As above, with what is drawn and measured cut down to seconds."""
    import latentedit.study.demo as module

    monkeypatch.setattr(module, "FINDERS", ("lasso", "linear"))
    monkeypatch.setattr(module, "MATRIX", (*module.EDITS, "smile"))
    monkeypatch.setattr(module, "OWN", 8)
    steps = {}
    report = module.demo(
        tmp_path / "demo", n=200, measured=6, progress=lambda step, done, total: steps.update({step: (done, total)})
    )
    assert all(done == total for done, total in steps.values())
    assert set(steps) == {
        "sample",
        "fit",
        "own pictures",
        *(f"re-score {f}{o}" for f in module.FINDERS for o in ("", ", no opposite")),
        "re-score prior",
    }
    page = report.read_text(encoding="utf-8")
    assert page.count("<img") == len(module.EDITS) + 1 + len(module.FINDERS) + 1
    for text in ("Re-scoring matrices", "Did the target move", "closed_eyes", "latentedit fit-directions"):
        assert text in page
    for name in (*(f"edit-{tag}.png" for tag in module.EDITS), "strengths.png", "lasso.safetensors"):
        assert (tmp_path / "demo" / name).stat().st_size > 0
