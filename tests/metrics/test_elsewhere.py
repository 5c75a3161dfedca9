"""What changes outside the edit's own quarter of the picture, on pictures whose changes are known."""

import numpy as np
import pytest
import torch

from latentedit.errors import LatentEditError
from latentedit.metrics.elsewhere import about, change_of, measure_elsewhere, rows_of


def pictures(n=40, size=64):
    return torch.zeros(n, 3, size, size)


def test_cells_are_means_of_pixels():
    before, after = torch.rand(3, 3, 64, 64) * 2 - 1, torch.rand(3, 3, 64, 64) * 2 - 1
    cells = change_of(before, after)
    pixels = (after - before).abs().mean(1).numpy()
    assert cells.shape == (3, 32, 32) and np.allclose(cells, pixels.reshape(3, 32, 2, 32, 2).mean((2, 4)), atol=1e-6)
    assert change_of(pictures(size=5), pictures(size=5)).shape == (40, 5, 5)


def test_only_what_lies_outside_the_quarter_counts():
    before, after = pictures(), pictures()
    after[:, :, :32, :32] += 1.0  # what the edit is about
    after[7, :, 32:, 32:] += 0.3  # one face changes elsewhere
    found = measure_elsewhere(change_of(before, after))
    assert found.where.sum() == 0.75 * 32 * 32 and not found.where[:16, :16].any()
    assert found.values[7] == pytest.approx(0.1) and np.delete(found.values, 7).max() == 0
    assert found.mean.value == pytest.approx(0.1 / 40) and found.worst_tenth.value == pytest.approx(0.1 / 4)
    assert found.too_much.value == 1 / 40 and found.too_much.low > 0 and found.worst(1).tolist() == [7]
    assert found.worst_tenth.low <= found.worst_tenth.value <= found.worst_tenth.high
    everywhere = measure_elsewhere(change_of(before, before + 0.2))
    assert np.allclose(everywhere.values, 0.2) and everywhere.too_much.value == 1
    still = measure_elsewhere(change_of(before, before))
    assert still.mean.value == 0 and still.too_much.value == 0 and 0 < still.too_much.high < 0.15


def test_what_an_edit_is_about_is_found_over_all_faces():
    changes = np.zeros((10, 4, 4))
    changes[:, 1, 1:3] = 1
    changes[0, 3, 3] = 5  # one face alone
    changes[:, 2, 2] = 0.6
    assert np.argwhere(about(changes)).tolist() == [[1, 1], [1, 2], [2, 2], [3, 3]]


def test_a_region_of_ones_own():
    before, after = pictures(size=128), pictures(size=128)
    after[:, :, :40] += 0.05
    after[:, :, 40:44] += 1.0
    changes = change_of(before, after)
    hair = measure_elsewhere(changes, region=rows_of(128, 128, 0, 40))
    assert np.allclose(hair.values, 0.05) and hair.too_much.value == 0
    wider = measure_elsewhere(changes, region=rows_of(128, 128, 0, 44))
    assert np.allclose(wider.values, (40 * 0.05 + 4) / 44) and wider.too_much.value == 1
    with pytest.raises(LatentEditError, match="empty"):
        measure_elsewhere(changes, region=np.zeros((128, 128), bool))
    with pytest.raises(LatentEditError, match="give 0 <= first < stop <= 128"):
        rows_of(128, 128, 100, 140)
    with pytest.raises(LatentEditError, match="has shape"):
        measure_elsewhere(changes, region=np.ones(3))


def test_nobody_has_no_figure():
    nothing = measure_elsewhere(np.zeros((0, 4, 4)))
    assert np.isnan([nothing.mean.value, nothing.worst_tenth.value, nothing.too_much.value]).all()
