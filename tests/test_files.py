"""Files of a folder: hidden ones are passed over, wherever a folder is read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentedit.editing.editors import newest_editor
from latentedit.files import visible_files
from latentedit.shipped import shipped

NOTES = b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100)


def test_hidden_files_folders_and_dead_links_are_passed_over(tmp_path: Path) -> None:
    for name in ("b.npy", "a.npy", "._a.npy", ".trashed-1-b.npy", "c.txt"):
        (tmp_path / name).write_bytes(NOTES)
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "dead.npy").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in visible_files(tmp_path, "*.npy")] == ["a.npy", "b.npy"]
    assert [path.name for path in visible_files(tmp_path)] == ["a.npy", "b.npy", "c.txt"]
    assert visible_files(tmp_path / "none") == []


def test_own_directions_are_found_beside_notes_of_macos(tmp_path: Path) -> None:
    shutil.copy(shipped("directions/avatar.safetensors"), tmp_path / "mine.safetensors")
    (tmp_path / "._mine.safetensors").write_bytes(NOTES)
    said: list[str] = []
    found = newest_editor(tmp_path, say=said.append)
    assert found is not None and found[1].name == "mine.safetensors" and said == []


def test_codes_are_found_beside_notes_of_macos(tmp_path: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    np.save(tmp_path / "1.npy", np.zeros((1, 8), np.float32))
    (tmp_path / "._1.npy").write_bytes(NOTES)
    assert "._1" not in run("decode", tmp_path, "--generator", "torch:toy:make", "--out", "one.png")[2]
    (tmp_path / "1.npy").unlink()
    assert "no .npy file" in run("decode", tmp_path, "--generator", "torch:toy:make", "--out", "one.png")[2]
