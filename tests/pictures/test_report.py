import numpy as np
import pytest
from PIL import Image

from latentedit.pictures.report import Figure, Section, Table, heat_map, write_report


def test_a_page_needs_no_other_file_and_escapes_its_text(tmp_path):
    table = Table(("tag", "n"), [["<b>hair</b>", "3"]], "a note")
    figure = Figure(Image.new("RGB", (4, 4), "red"), "a red square")
    page = write_report(tmp_path / "r.html", "T", [Section("One", "text", [figure], [table], ["run me"])]).read_text()
    assert "&lt;b&gt;hair&lt;/b&gt;" in page and "<b>hair" not in page
    assert 'src="data:image/png;base64,' in page and "run me" in page and "a note" in page
    assert "http://" not in page and "https://" not in page and "<link" not in page and "<script" not in page


def test_heat_map_colours_rise_and_fall():
    rising = np.asarray(heat_map(np.full((2, 3), 0.9), ["a", "b"], ["x", "y", "z"]))
    falling = np.asarray(heat_map(np.full((2, 3), -0.9), ["a", "b"], ["x", "y", "z"]))

    def reds(image):
        return int(((image[..., 0] > 120) & (image[..., 2] < 60)).sum())

    assert reds(rising) > 10 * max(1, reds(falling))


# matplotlib warns of letters that it cannot draw, and of labels without room; the one that is ignored is ours
@pytest.mark.filterwarnings("error", "ignore:no font here has")
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (12, 2)])
def test_labels_of_a_heat_map_are_whole(shape):
    names = ["a_very_long_danbooru_tag_of_a_kind_(with_series)=3 -short_hair/3", "笑顔 \U000e0fff", "σ"] * 4
    page = np.asarray(heat_map(np.zeros(shape), names[: shape[0]], names[: shape[1]])).min(-1)
    assert all((edge == 255).all() for edge in (page[0], page[-1], page[:, 0], page[:, -1]))
