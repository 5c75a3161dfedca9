"""Frames of a real video file, written by FFmpeg through PyAV."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from torch import Tensor
from toy import ToyTranslator

from latentedit.editing.faces import Faces
from latentedit.errors import LatentEditError
from latentedit.pictures.images import read_picture, read_pixels
from latentedit.pictures.video import is_video, split_time

FRAMES = 20
RATE = 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds that grow from black to white; key frames are seldom."""
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE, options={"g": "12"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(FRAMES):
            picture = Image.new("RGB", (64, 48), (i * 12, i * 12, i * 12))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    return path


def grey(name: Path | str) -> float:
    return float((read_picture(name, 16).mean() + 1) * 127.5)


@pytest.mark.parametrize(("time", "frame"), [("", 0), ("#t=0", 0), ("#t=0.55", 5), ("#t=1.3", 13), ("#t=1.95", 19)])
def test_the_frame_that_is_shown_at_a_time(clip: Path, time: str, frame: int) -> None:
    assert grey(f"{clip}{time}") == pytest.approx(frame * 12, abs=5)  # one frame is 12


@pytest.mark.parametrize(("matrix", "turn"), [((0, 1, -1, 0), 90), ((-1, 0, 0, -1), 180), ((0, -1, 1, 0), 270)])
def test_a_clip_of_a_phone_is_turned_as_players_do(tmp_path: Path, matrix: tuple[int, ...], turn: int) -> None:
    """The matrix of a track maps (x, y) to (ax + cy, bx + dy), y down; with (0, 1, -1, 0) what was left is up."""
    half = np.zeros((48, 64, 3), np.uint8)
    half[:, :32] = 255  # white on the left
    path = tmp_path / "phone.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24")))
        container.mux(stream.encode())
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44  # of version 0
    a, b, c, d = (one << 16 for one in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    read = read_pixels(path)[0].numpy() > 128  # (H, W)
    white = {90: (slice(0, 28), slice(None)), 180: (slice(None), slice(36, None)), 270: (slice(36, None), slice(None))}
    assert read.shape == ((64, 48) if turn != 180 else (48, 64))
    assert read[white[turn]].all() and read.mean() == pytest.approx(0.5, abs=0.05)


def test_a_clip_that_is_transparent_is_laid_on_white(tmp_path: Path) -> None:
    path = tmp_path / "clear.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        clear = np.zeros((48, 64, 4), np.uint8)
        clear[:24, :, 3] = 255  # black above, nothing below
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        container.mux(stream.encode())
    read = read_pixels(path)
    assert (read[:, :24] == 0).all() and (read[:, 24:] == 255).all()


def test_bad_times_and_files_are_told_in_a_line(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match=r"lasts 2 s; it has no frame at 7 s"):
        read_picture(f"{clip}#t=7", 16)
    with pytest.raises(LatentEditError, match="no time"):
        read_picture(f"{clip}#t=soon", 16)
    with pytest.raises(LatentEditError, match="no video at"):
        read_picture(tmp_path / "none.mp4", 16)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(LatentEditError, match="cannot read"):
        read_picture(tmp_path / "text.mp4", 16)


def test_names() -> None:
    assert split_time("a/b.mp4#t=1.5") == (Path("a/b.mp4"), 1.5)
    assert split_time("a#t=1.mp4#t=2") == (Path("a#t=1.mp4"), 2.0)
    assert is_video("a.MP4#t=3") and is_video(Path("a.webm")) and not is_video("a.png")


class Remembering(ToyTranslator):
    """Keeps the content that it was last given."""

    def decode(self, codes: Tensor, *, content: Tensor | None = None, noise: str | int = "stored") -> Tensor:
        self.content = content
        return super().decode(codes, content=content, noise=noise)


def test_a_frame_is_content_like_a_picture(clip: Path) -> None:
    generator, contents = Remembering(), []
    for time in (0, 1.9):
        Faces(seeds=[0], content=f"{clip}#t={time}").prepare(generator).pictures()
        contents.append(generator.content)
    early, late = contents
    assert early is not None and late is not None
    assert float((late - early).min()) > 1
