"""Files of a folder, of which hidden ones are passed over, names of files, and text."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from places import FIXTURES

from latentedit.editing.editors import newest_editor
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import atomic_write, destination, file_name, read_text, read_toml, visible_files
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


# ---- names


def test_names_of_files_are_visible_short_no_paths_and_all_different() -> None:
    odd = [
        "fate/stay_night", "fate\\stay_night", "fate:stay_night", "\\||/", "||", ":d", ":D", ".hack//", ".", "..",
        "...", "", " ", "-", "--", "-_-", "CON", "nul", "Aux.txt", "com¹", "x.", "x ", "x\n", "x\0", "%s", "*", "?",
        "<>", '"', "'", "a" * 300, "a" * 301, "日" * 100, "日" * 101, "😀", "❤\ufe0f", "\u0301", "e\u0301", "\u202eabc",
        "\udcff",
    ]  # fmt: skip
    names = {text: file_name(text) for text in odd}
    assert len({name.casefold() for name in names.values()}) == len(odd)
    for text, name in names.items():
        assert name != text and 0 < len(os.fsencode(name)) <= 107, text
        assert all(sign not in name for sign in '/\\:*?"<>|%\n\0 '), text
        assert name[0] not in ".-" and name[-1] != "." and not PureWindowsPath(name).is_reserved(), text
        assert file_name(text) == name
    for plain in ("long_hair", "edit-1girl", "x.y", "日本語", "café", "हिन्दी", "مرحبا", "Long", "console"):
        assert file_name(plain) == plain, "letters of any script stay"


def test_every_danbooru_tag_has_a_file_of_its_own(tmp_path: Path) -> None:
    lines = (FIXTURES / "danbooru_tags.csv").read_text().splitlines()
    tags = {row["name"] for row in csv.DictReader(line for line in lines if not line.startswith("#"))}
    for tag in tags:
        with open(tmp_path / f"{file_name(tag)}.png", "x") as file:
            file.write(tag)
    assert {path.read_text() for path in visible_files(tmp_path, "*.png")} == tags and len(tags) > 500


# ---- text


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_any_system_is_read(tmp_path: Path, encoding: str, ends: str) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(ends.join(("a = '日本'", "b = 2", "")).encode(encoding))
    assert read_text(file) == "a = '日本'\nb = 2\n" and read_toml(file) == {"a": "日本", "b": 2}


def test_other_text_is_said_with_its_byte(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes("a = 'é'".encode("cp1252"))
    with pytest.raises(DamagedFileError, match=r"x.toml: byte 0xe9 at 5 is not UTF-8; save it as UTF-8"):
        read_toml(file)
    with pytest.raises(DamagedFileError, match="no such file"):
        read_text(tmp_path / "none")


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for name in ("old", "new"):  # one that is there, and one that is not yet
        target = tmp_path / "there" / name
        if name == "old":
            target.write_text("before")
        link, through = tmp_path / name, tmp_path / f"{name}-2"
        link.symlink_to(Path("there") / name)
        through.symlink_to(link)
        with atomic_write(through) as temporary:
            temporary.write_text("after")
        assert link.is_symlink() and through.is_symlink() and target.read_text() == "after"
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["new", "old"]
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(LatentEditError, match="a is a link that leads in a circle"), atomic_write(tmp_path / "a"):
        pass


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: os.mkfifo(path), "a pipe"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "a socket"),
        (lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)), "a device"),
    ],
    ids=["pipe", "socket", "device"],
)
def test_what_is_no_file_is_not_replaced(
    tmp_path: Path, make: Callable[[Path], object], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    node = Path("node")
    try:
        make(node)
    except (PermissionError, AttributeError):
        pytest.skip("this system or user makes no such node")
    before = node.stat()
    for path in (node, Path("link")):
        if path != node:
            path.symlink_to(node)
        with pytest.raises(LatentEditError, match=f"{path} is {what}, and no file"), atomic_write(path):
            pass
    assert node.stat().st_mode == before.st_mode and node.stat().st_ino == before.st_ino


def test_devices_of_the_system_are_not_written_to() -> None:
    for path in ("/dev/latentedit-nothing", "/proc/self/fd/latentedit"):
        with pytest.raises(LatentEditError, match="is a device"):
            destination(path)
