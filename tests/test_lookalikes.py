"""What came in place of a file is called what it is, by every reader; right files are not spoken of."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_taggers import write_tagger
from PIL import Image
from safetensors.torch import save_file

from latentedit import DirectionBank, Prior, Recipe, load_generator, load_tagger, open_samples
from latentedit.directions.formats import read_codes
from latentedit.directions.pairs import TagRelations
from latentedit.editing.editors import open_editor
from latentedit.errors import LatentEditError
from latentedit.files import read_text, read_toml
from latentedit.lookalikes import lookalike
from latentedit.metrics.features import load_features
from latentedit.pictures.images import read_picture
from latentedit.study.protocol import read_protocol
from latentedit.taggers.label_table import read_table


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, b"x" * 500)
    return out.getvalue()


PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in &ndash; Hub</title></head><body>a, b</body></html>\n" * 9
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 381673535\n"
KINDS = {
    "a page": (PAGE, r"web page \('Sign in – Hub'\), not the file; .*download it with the browser.*raw=true.*resolve"),
    "a page after a mark": (b"\xef\xbb\xbf\r\n" + PAGE, "a web page"),
    "a page in UTF-16": (PAGE.decode().encode("utf-16"), "a web page"),
    "an answer of S3": (b'<?xml version="1.0"?>\n<Error><Code>NoSuchKey</Code></Error>', "server's error.*NoSuchKey"),
    "an answer in JSON": (
        b'{"message": "Not Found", "status": "404"}',
        "a server's error message.*Not Found.*check",
    ),
    "an answer in text": (b"404: Not Found", "a server's error message.*404.*check the link"),
    "a pointer": (POINTER, "a git-lfs pointer, not the file of 381673535 bytes; run: git lfs pull"),
    "a pointer of Windows": (POINTER.replace(b"\n", b"\r\n"), "of 381673535 bytes; run: git lfs pull"),
    "git-annex": (b"/annex/objects/SHA256E-s3816--4d7a.pt\n", "a git-annex pointer.*git annex get"),
    "DVC": (b"outs:\n- md5: 4d7a\n  size: 3816\n  path: a.pt\n", "a DVC pointer.*dvc pull"),
    "nothing": (b"", "the file is empty; download it again"),
    "zeros": (bytes(100_000), "nothing but zeros where 100000 bytes should be.*download it again"),
    "notes of macOS": (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(90), r"notes that macOS keeps.*leading \._"),
    "a shortcut": (b"\x4c\0\0\0\1\x14\2\0" + bytes(90), "a shortcut of Windows"),
    "a link": (b"[InternetShortcut]\nURL=https://a.example/\n", "a shortcut to a web page"),
    "half a zip": (zipped("a.bin")[:300], "a zip archive that is truncated: 300 bytes are there.*download it again"),
}
OTHERS = {
    "gzip": (gzip.compress(b"x" * 99), "gzip; unpack it"),
    "zip": (zipped("a.bin"), "a zip archive; unpack it"),
    "workbook": (zipped("[Content_Types].xml"), "an Office document"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(40), "7z archive; unpack it"),
    "pdf": (b"%PDF-1.7\n" + bytes(20), "a PDF document"),
    "svg": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
    "parquet": (b"PAR1" + bytes(40), "a Parquet table"),
}


@pytest.mark.parametrize("kind", [*KINDS, *OTHERS])
def test_kinds(kind: str, tmp_path: Path) -> None:
    data, expected = (KINDS | OTHERS)[kind]
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    found = lookalike(path)
    assert found is not None and found.never == (kind in KINDS)
    assert str(found).isprintable() and len(str(found)) < 400
    with pytest.raises(AssertionError, match=expected):
        raise AssertionError(str(found))


RIGHT = {
    "tags": b"1girl\nlong_hair\n", "numbers": b"404,smile\n500,frown\n", "files": b"404.png,not_found\n",
    "json": b'{"model": "resnet_custom_v3"}', "toml": b'[hair]\nlong = "short"\n', "markup": b"a<b, html\n",
    "versions": b"version,https\n", "zeros": bytes(50) + b"x" + bytes(5000),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_right_files_are_not_spoken_of(what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(RIGHT[what])
    assert lookalike(path) is None
    save_file({"w": torch.ones(3)}, tmp_path / "x.safetensors")
    found = lookalike(tmp_path / "x.safetensors")
    assert found is not None and (found.kind, found.never) == ("safetensors", False)


def test_a_download_that_goes_on_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "g.pt.crdownload"
    path.write_bytes(b"\x80\x02}q\0")
    with pytest.raises(LatentEditError, match=r"not finished, as its name says \(.crdownload\); download it again"):
        load_generator(f"stylegan2:{path}")
    torch.save({"a": [1]}, path)  # a whole one
    with pytest.raises(LatentEditError, match="no tensors at all"):
        load_generator(f"stylegan2:{path}")


def onnx(name: str) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, data: bytes) -> Any:
        write_tagger(folder / "onnx")
        (folder / "onnx" / name).write_bytes(data)
        return load_tagger(f"onnx:{folder / 'onnx'}")

    return read


def project(name: str) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, data: bytes) -> Any:
        files = {"project.json": b'{"model": "m"}', "tags.txt": b"a\nb\n", "model-m.keras": zipped("config.json")}
        for one, content in (files | {name: data}).items():
            (folder / one).write_bytes(content)
        return load_tagger(f"deepdanbooru:{folder}")

    return read


def samples(folder: Path, data: bytes) -> Any:
    (folder / "manifest.json").write_bytes(data)
    return open_samples(folder)


def at(name: str, read: Callable[[Path], Any]) -> Callable[[Path, bytes], Any]:
    def write_and_read(folder: Path, data: bytes) -> Any:
        (folder / name).write_bytes(data)
        return read(folder / name)

    return write_and_read


READERS: dict[str, Callable[[Path, bytes], Any]] = {
    **{f"generator {kind}": at("g.pt", lambda path, kind=kind: load_generator(f"{kind}:{path}"))  # type: ignore[misc]
       for kind in ("stylegan2", "nvlabs", "genforce", "dcgan", "gnr", "vae", "avatar")},
    "directions": at("d.safetensors", DirectionBank.load), "prior": at("p.safetensors", Prior.load),
    "editor": at("e.safetensors", open_editor),
    **{f"codes {end}": at(f"c.{end}", read_codes) for end in ("npy", "npz", "pt", "csv")},
    "onnx model": onnx("model.onnx"), "onnx table": onnx("selected_tags.csv"),
    "project": project("project.json"), "tags": project("tags.txt"), "keras": project("model-m.keras"),
    "judge": at("j.safetensors", lambda path: load_tagger(f"judge:{path}")),
    "tagger": at("t.safetensors", lambda path: load_tagger(f"avatar:{path}")),
    "labels": at("l.csv", lambda path: read_table(path, None)),
    "recipe": at("r.json", Recipe.load), "pairs": at("p.toml", TagRelations.load),
    "protocol": at("s.toml", read_protocol), "samples": samples,
    "features": at("i.pth", lambda path: load_features(f"inception:{path}")),
    "picture": at("a.png", lambda path: read_picture(path, 8)), "text": at("t.txt", read_text),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_what_it_was_given(reader: str, tmp_path: Path) -> None:
    for i, kind in enumerate(("a page", "a pointer", "an answer in JSON")):
        data, expected = KINDS[kind]
        folder = tmp_path / str(i)
        folder.mkdir()
        with pytest.raises(LatentEditError, match=expected) as caught:
            READERS[reader](folder, data)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", sorted(set(READERS) - {"pairs", "protocol", "samples", "text", "recipe", "picture"}))
def test_archives_are_to_be_unpacked(reader: str, tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match="gzip; unpack it"):
        READERS[reader](tmp_path, OTHERS["gzip"][0])


def test_readers_take_what_is_theirs(tmp_path: Path) -> None:
    """The same readers, given right files: no word of anything."""
    np.save(tmp_path / "c.npy", np.ones((2, 4), "f4"))
    assert read_codes(tmp_path / "c.npy").shape == (2, 4)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png", 8).shape == (3, 8, 8)
    (tmp_path / "p.toml").write_text("")
    assert read_toml(tmp_path / "p.toml") == {}
    with pytest.raises(LatentEditError) as caught:
        Recipe.load(tmp_path / "a.png")
    assert "it holds no recipe" in str(caught.value) and "PNG picture" not in str(caught.value)
