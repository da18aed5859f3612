"""What a good image is: a JPEG or PNG by its bytes, whole, and of a shape that the vendor takes.

The rules are the vendor's (its pages on the Hailuo models): aspect ratio strictly between 2:5 and 5:2, short
side more than 300 px, at most 20 MB. EXIF orientation is ignored: a quarter turn swaps the sides, and every
rule here is the same for both.
"""

from __future__ import annotations

import base64
import binascii
import builtins
import hashlib
import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, Final, Literal

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from schemas import jpeg
from schemas.documents import MEGABYTE
from schemas.faults import refusal
from schemas.urls import check_url

__all__ = ["MAX_BYTES", "MAX_PIXELS", "Image", "check_url", "decode_data_uri", "is_data_uri", "read"]

MediaType = Literal["image/jpeg", "image/png"]

MAX_BYTES: Final = 20 * MEGABYTE
MAX_PIXELS: Final = 50_000_000
"""A decompression bomb begins here: 200 MB of memory, more than any 48-megapixel camera asks for."""
MAX_WORK: Final = 1_000_000_000
"""Pixels times scans: a progressive JPEG may go over all its pixels again in every few bytes."""
MIN_SHORT_SIDE: Final = 300

_LARGE_PIXELS: Final = 4_000_000
_LARGE_IN_TURN = threading.Lock()

_HEAD = re.compile(r"\s*data:\s*([^;,]*?)\s*((?:;[^;,]*)*),", re.IGNORECASE)
_LONGEST_HEAD: Final = 256
_URI_ALLOWED: Final = "data:image/jpeg;base64,... or data:image/png;base64,..."
_ALLOWED: Final = "a JPEG or PNG"

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"IEND\xaeB`\x82"
_OTHERS: Final = (
    (re.compile(rb"GIF8"), "a GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "a WebP"),
    (re.compile(rb"....ftyp(?:hei|hev|mif|msf)", re.DOTALL), "a HEIC"),
    (re.compile(rb"....ftypavi", re.DOTALL), "an AVIF"),
    (re.compile(rb"BM"), "a BMP"),
    (re.compile(rb"II\*\0|MM\0\*"), "a TIFF"),
    (re.compile(rb"\s*<(?:svg|\?xml)", re.IGNORECASE), "an SVG"),
)


@dataclass(frozen=True)
class Image:
    """An image that was read whole. ``width`` and ``height`` in px, as stored."""

    media_type: MediaType
    data: builtins.bytes = field(repr=False)
    width: int
    height: int

    @property
    def bytes(self) -> int:
        """Its size in bytes."""
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        """64 lowercase hex digits."""
        return hashlib.sha256(self.data).hexdigest()

    def describe(self) -> dict[str, Any]:
        """What is echoed and sent on in place of the bytes."""
        return {"media_type": self.media_type, "bytes": self.bytes, "sha256": self.sha256}

    def data_uri(self) -> str:
        """The image as the vendor takes it inline, labelled by what its bytes are."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


def is_data_uri(text: str) -> bool:
    """Whether ``text`` means to be a data URI; a good one or not."""
    return text[:_LONGEST_HEAD].lstrip()[:5].lower() == "data:"


def decode_data_uri(text: str) -> Image:
    """The image in ``data:image/...;base64,...``; raises ValidationError.

    The label must say that it is an image, no more: the bytes decide. Also taken: the spelling of the
    vendor's page (``data:image/jpeg; base64,``), upper case, ``image/jpg``, white space in the base64.
    """
    head = _HEAD.match(text, 0, _LONGEST_HEAD)
    if head is None:
        raise refusal("is not a whole data URI", code="invalid_data_uri", allowed=_URI_ALLOWED)
    label, options = head[1].lower(), [option.strip().lower() for option in head[2].split(";")]
    if not re.fullmatch(r"image/[\w.+-]{1,64}", label, re.ASCII):
        raise refusal("is a data URI of no image", code="invalid_data_uri", allowed=_URI_ALLOWED)
    if options[-1] != "base64":
        raise refusal("is a data URI without base64", code="invalid_data_uri", allowed=_URI_ALLOWED)
    return read(_base64(text, head.end()))


def read(data: bytes) -> Image:
    """The image that ``data`` is, decoded to the end; raises ValidationError.

    Large ones (over 4 megapixels) take turns, so that many at once cannot exhaust the memory.
    """
    if not data:
        raise refusal("is empty", code="image_format", allowed=_ALLOWED)
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    is_png = data.startswith(_PNG_START)
    if not is_png and not data.startswith(b"\xff\xd8\xff"):
        raise refusal(f"is {_kind(data)}", code="image_format", allowed=_ALLOWED)
    width, height = _open(data).size
    _check_shape(width, height)
    _check_whole(data, width * height)
    with _LARGE_IN_TURN if width * height > _LARGE_PIXELS else nullcontext():
        _decode(data)
    return Image("image/png" if is_png else "image/jpeg", data, width, height)


def _base64(text: str, start: int) -> bytes:
    # Twice the size leaves room for line breaks, and refuses the rest before it is copied.
    if len(text) - start > 2 * MAX_BYTES:
        raise _too_large((len(text) - start) * 3 // 4)
    try:
        encoded = text[start:].encode("ascii").translate(None, b" \t\r\n\f\v")
        if len(encoded) // 4 * 3 - encoded[-2:].count(b"=") > MAX_BYTES:
            raise _too_large(len(encoded) // 4 * 3)
        return binascii.a2b_base64(encoded, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        allowed = "A-Z a-z 0-9 + / with its padding"
        raise refusal("holds broken base64", code="invalid_base64", allowed=allowed) from None


def _open(data: bytes) -> ImageFile:
    # The plugin itself and not Image.open: that one takes a JPEG with a second picture in it for an MPO,
    # and warns of bombs where it should refuse.
    plugin = PngImageFile if data.startswith(_PNG_START) else JpegImageFile
    try:
        return plugin(BytesIO(data))
    except Exception:  # noqa: BLE001 - hostile bytes make a decoder raise nearly anything
        raise _broken() from None


def _decode(data: bytes) -> None:
    image = _open(data)
    try:
        # A JPEG drafted at 1:8 is still read to its end, in a fraction of the memory; a PNG knows no drafts.
        image.draft(image.mode, (1, 1))
        image.load()
    except Exception:  # noqa: BLE001 - as in _open
        raise _broken() from None


def _check_shape(width: int, height: int) -> None:
    short, long = sorted((width, height))
    size = f"is {width} x {height} px"
    if width * height > MAX_PIXELS:
        raise refusal(size, code="image_pixels", allowed=f"at most {MAX_PIXELS} pixels in all")
    if short <= MIN_SHORT_SIDE:
        allowed = f"the short side must be more than {MIN_SHORT_SIDE} px"
        raise refusal(size, code="image_short_side", allowed=allowed)
    if 2 * long >= 5 * short:
        allowed = "the aspect ratio must be more than 2:5 and less than 5:2"
        raise refusal(size, code="image_aspect_ratio", allowed=allowed)


def _check_whole(data: bytes, pixels: int) -> None:
    # Pillow is content when only the end marker is missing.
    if data.startswith(_PNG_START):
        if _PNG_END not in data:
            raise _broken()
        return
    scans = jpeg.scans(data)
    if scans is None:
        raise _broken()
    if scans * pixels > MAX_WORK:
        fault = f"has {scans} scans of {pixels} pixels"
        raise refusal(fault, code="image_pixels", allowed=f"at most {MAX_WORK} pixels to go over")


def _kind(data: bytes) -> str:
    names = (name for pattern, name in _OTHERS if pattern.match(data[:64]))
    return next(names, "no image that can be read")


def _too_large(size: int) -> Exception:
    fault = f"is {size / MEGABYTE:.1f} MB large"
    allowed = f"at most {MAX_BYTES // MEGABYTE} MB ({MAX_BYTES} bytes)"
    return refusal(fault, code="image_too_large", allowed=allowed)


def _broken() -> Exception:
    return refusal("is truncated or broken", code="image_broken", allowed="a JPEG or PNG that is whole")
