"""Pictures out of video files, by PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.lookalikes import lookalike

if TYPE_CHECKING:
    import av

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})


def split_time(path: str | Path) -> tuple[Path, float]:
    """``clip.mp4#t=12.5`` to the file and its seconds, 0 when none are given; W3C Media Fragments' spelling.

    Raises:
        LatentEditError: what follows ``#t=`` is no time.
    """
    name, mark, seconds = str(path).rpartition("#t=")
    if not mark or Path(path).exists():
        return Path(path), 0.0
    try:
        time = float(seconds)
        if not 0 <= time < float("inf"):
            raise ValueError
    except ValueError as error:
        raise LatentEditError(f"{seconds!r} is no time; write seconds from 0, as in {name}#t=12.5") from error
    return Path(name), time


def is_video(path: str | Path) -> bool:
    """Whether a path names a video, by its suffix; ``#t=`` may follow."""
    return split_time(path)[0].suffix.lower() in SUFFIXES


def read_frame(path: str | Path) -> Image.Image:
    """The frame that is shown at a time of a video, ``clip.mp4#t=12.5``, or the first: RGB, RGBA where it has alpha.

    Raises:
        UnreadablePictureError: no such file, no video that FFmpeg can read, or it is shorter.
        LatentEditError: PyAV is missing, or the time is none.
    """
    file, seconds = split_time(path)
    try:
        import av
    except ImportError as error:
        raise LatentEditError("videos need PyAV; install it with: pip install 'latentedit[video]'") from error
    if not file.is_file():
        raise UnreadablePictureError(path, f"no video at {str(file)!r}")
    shown = None
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise UnreadablePictureError(path, f"{str(file)!r} has no pictures, only sound")
            stream = container.streams.video[0]
            if stream.time_base is not None:
                container.seek(int(seconds / stream.time_base), stream=stream)  # to the key frame before
            for frame in container.decode(stream):
                if shown is not None and frame.time is not None and frame.time > seconds + 1e-6:
                    return _upright(shown)
                shown = frame
    except av.FFmpegError as error:
        kind = lookalike(file)
        reason = error.strerror or error if kind is None or kind.kind in ("mp4", "webm", "avi") else f"it is {kind}"
        message = f"cannot read {str(file)!r} as a video: {reason}"
        raise UnreadablePictureError(path, message) from error
    if shown is None:
        raise UnreadablePictureError(path, f"{str(file)!r} has no frame at {seconds:g} s")
    length = float((shown.time or 0.0) + 1 / float(stream.average_rate or 25))
    if seconds > length:
        raise UnreadablePictureError(path, f"{str(file)!r} lasts {length:.3g} s; it has no frame at {seconds:g} s")
    return _upright(shown)


def _upright(frame: av.VideoFrame) -> Image.Image:
    """A frame as players show it: turned as the phone that filmed it was."""
    alpha = any(part.is_alpha for part in frame.format.components)
    image = Image.fromarray(frame.to_ndarray(format="rgba" if alpha else "rgb24"))
    turn = getattr(frame, "rotation", 0)  # degrees against the clock; older PyAV does not tell
    return image.rotate(turn, expand=True) if turn and turn % 90 == 0 else image
