"""Renders one shot to an MP4 and ends: a process of its own for every render, so that its memory goes back.

``python -m service.sandbox.render`` reads one JSON object, a ``Shot``, from its standard input. The film is a
slow pan and zoom over the picture (or over a gradient with the prompt on it): there is no AI in it, and the
file's comment says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import av
from PIL import Image, ImageDraw, ImageFont, ImageOps

SHORT_SIDE = 512
COMMENT = "Hookreel sandbox render: a slow pan and zoom over the submitted picture, no AI involved"
_MARGIN = 1.25
_ZOOM = 0.16
_FADE_FROM = 0.6

Planes = tuple[Image.Image, Image.Image, Image.Image]
Size = tuple[int, int]


@dataclass(frozen=True)
class Shot:
    """What to film. Paths of pictures are None for a gradient; ``seconds`` of film, ``fps`` frames each."""

    output: str
    seconds: int
    prompt: str = ""
    image: str | None = None
    end_image: str | None = None
    fps: int = 24


def render(shot: Shot) -> None:
    """Write ``shot.output``: H.264, yuv420p, short side 512, index in front. Raises OSError, FFmpegError."""
    first = _open(shot.image) if shot.image else _title(shot.prompt)
    size = frame_size(first.size)
    start = _planes(first, size)
    end = _planes(_open(shot.end_image), size) if shot.end_image else None
    count = shot.seconds * shot.fps
    _encode(shot, size, (_frame(start, end, size, n / count) for n in range(count)))


def frame_size(picture: Size) -> Size:
    """The film's size: the picture's aspect ratio, the short side 512, both sides even."""
    width, height = picture
    long_side = round(SHORT_SIDE * max(picture) / min(picture) / 2) * 2
    return (long_side, SHORT_SIDE) if width >= height else (SHORT_SIDE, long_side)


def _open(path: str) -> Image.Image:
    picture = Image.open(path)
    # Decodes a large JPEG at a fraction of its size; no-op for a PNG.
    picture.draft("RGB", (2 * SHORT_SIDE, 2 * SHORT_SIDE))
    return ImageOps.exif_transpose(picture).convert("RGB")


def _title(prompt: str) -> Image.Image:
    colours = hashlib.sha256(prompt.encode()).digest()
    picture = ImageOps.colorize(
        Image.linear_gradient("L").resize((1138, 640)),
        black=tuple(byte // 3 for byte in colours[:3]),
        white=tuple(96 + byte // 3 for byte in colours[3:6]),
    )
    lines = textwrap.wrap(prompt, 44)[:8]
    ImageDraw.Draw(picture).multiline_text(
        (569, 320),
        "\n".join(lines),
        fill="white",
        font=ImageFont.load_default(40),
        anchor="mm",
        align="center",
    )
    return picture


def _planes(picture: Image.Image, size: Size) -> Planes:
    """Y, U and V of the picture at a quarter more than the film's size: frames are cut out of these."""
    canvas = ImageOps.fit(picture, (int(size[0] * _MARGIN) // 2 * 2, int(size[1] * _MARGIN) // 2 * 2))
    frame = av.VideoFrame.from_image(canvas).reformat(format="yuv420p")  # type: ignore[no-untyped-call]
    y, u, v = (
        Image.frombytes("L", (plane.width, plane.height), bytes(plane), "raw", "L", plane.line_size, 1)
        for plane in frame.planes
    )
    return y, u, v


def _frame(start: Planes, end: Planes | None, size: Size, progress: float) -> av.VideoFrame:
    frame = av.VideoFrame(size[0], size[1], "yuv420p")
    for index, plane in enumerate(frame.planes):
        cut = _cut(start[index], (plane.width, plane.height), progress)
        if end is not None and progress > _FADE_FROM:
            other = _cut(end[index], cut.size, progress)
            cut = Image.blend(cut, other, (progress - _FADE_FROM) / (1 - _FADE_FROM))
        plane.update(_padded(cut, plane.line_size))
    return frame


def _cut(plane: Image.Image, size: Size, progress: float) -> Image.Image:
    width, height = (side * (1 - _ZOOM * progress) for side in plane.size)
    x, y = (plane.width - width) * 0.7, (plane.height - height) * 0.4
    return plane.resize(size, Image.Resampling.BILINEAR, box=(x, y, x + width, y + height))


def _padded(plane: Image.Image, line_size: int) -> bytes:
    """The plane's bytes with every line filled up to the encoder's alignment."""
    data, width = plane.tobytes(), plane.width
    if width == line_size:
        return data
    filler = bytes(line_size - width)
    return b"".join(data[at : at + width] + filler for at in range(0, len(data), width))


def _encode(shot: Shot, size: Size, frames: Iterator[av.VideoFrame]) -> None:
    with av.open(shot.output, "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = COMMENT
        stream = container.add_stream("libx264", rate=shot.fps, options={"preset": "veryfast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


if __name__ == "__main__":
    # The renders yield to the services that share the machine.
    os.nice(5)
    render(Shot(**json.load(sys.stdin)))
