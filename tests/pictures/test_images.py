import numpy as np
import pytest
import torch
from picture_bytes import exif, turned
from PIL import Image

from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.pictures.folder import PictureFolder
from latentedit.pictures.images import list_pictures, read_picture, to_uint8


def picture(tmp_path, name="a.png", size=(40, 20), mode="RGB", colour="red"):
    path = tmp_path / name
    Image.new(mode, size, colour).save(path)
    return path


def test_eight_bits_round_trip_and_rounding():
    every = torch.arange(256).float() / 127.5 - 1
    assert to_uint8(every.reshape(1, 1, 16, 16).expand(1, 3, 16, 16))[0, ..., 0].ravel().tolist() == list(range(256))
    beyond = to_uint8(torch.tensor([-3.0, 3.0]).reshape(1, 1, 1, 2).expand(1, 3, 1, 2))
    assert beyond[0, 0, :, 0].tolist() == [0, 255]


def test_reading_crops_the_middle_and_scales_to_unit_range(tmp_path):
    image = Image.new("RGB", (60, 20), "blue")
    image.paste("red", (20, 0, 40, 20))
    image.save(tmp_path / "wide.png")
    read = read_picture(tmp_path / "wide.png", 8)
    assert read.shape == (3, 8, 8) and read.dtype == torch.float32
    assert (read[0] == 1).all() and (read[2] == -1).all()  # only the red middle is left


def test_reading_turns_as_exif_says(tmp_path):
    image = Image.new("RGB", (20, 20), "white")
    image.paste("black", (0, 0, 20, 10))  # black above
    exif = Image.Exif()
    exif[274] = 3  # upside down
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "plain.png")
    assert read_picture(tmp_path / "turned.png", 4)[0, 0, 0] == 1
    assert read_picture(tmp_path / "plain.png", 4)[0, 0, 0] == -1


@pytest.mark.parametrize("mode,colour", [("L", 255), ("RGBA", (0, 0, 0, 0)), ("LA", (0, 0)), ("P", 255)])
def test_other_modes_become_rgb_on_white(tmp_path, mode, colour):
    path = picture(tmp_path, mode=mode, colour=colour)
    if mode == "P":
        Image.new("L", (9, 9), 255).convert("P").save(path)
    assert (read_picture(path, 4) == 1).all()


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "note.png").write_text("not a picture")
    whole = picture(tmp_path, size=(200, 200)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("note.png", "cut.png", "none.png"):
        with pytest.raises(UnreadablePictureError, match=name) as told:
            read_picture(tmp_path / name, 8)
        assert told.value.path == tmp_path / name


def test_listing_is_in_name_order_and_pictures_only(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in list_pictures(tmp_path)] == ["a.jpg", "b.PNG"]
    with pytest.raises(LatentEditError, match="no picture"):
        (tmp_path / "empty").mkdir()
        list_pictures(tmp_path / "empty")
    with pytest.raises(LatentEditError, match="is not a folder"):
        list_pictures(tmp_path / "c.txt")


def test_the_command_line_says_nothing_of_odd_metadata_and_what_is_assumed_once(tmp_path, run):
    odd = exif((0x10F, 2, 400, b"\x88\x13\0\0"), turned(1))  # a maker's name beyond the end, which Pillow warns of
    grey = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "a.jpg", exif=odd)
    code, _, error = run("tag", tmp_path / "a.jpg", "--tagger", "avatar")
    assert (code, error) == (0, "")
    for name in "bc":
        Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / f"{name}.tif")
    (tmp_path / "._b.tif").write_bytes(b"\0\5\x16\7")
    code, out, error = run("tag", tmp_path, "--tagger", "avatar")
    assert code == 0 and "._b.tif" not in out and error.count("warning: ") == error.count("fractions") == 1


def test_hidden_files_folders_and_links_to_nowhere_are_passed_over(tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("._face.png", ".trashed-123-face.png", ".DS_Store", ".pending-face.jpg", "Thumbs.db", "desktop.ini"):
        (hidden / name).write_bytes(b"\0\5\x16\7")
    (hidden / "folder.png").mkdir()
    (hidden / "link.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(LatentEditError, match=r"no picture in .* but hidden ones \(3\), whose names begin with a dot"):
        list_pictures(hidden)
    picture(hidden, "face.png")
    (hidden / "linked.png").symlink_to(hidden / "face.png")
    assert [p.name for p in list_pictures(hidden)] == ["face.png", "linked.png"]
    assert len(PictureFolder(hidden, 8)) == 2
