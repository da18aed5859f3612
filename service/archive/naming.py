"""What a copy is called, and what it is served as."""

from __future__ import annotations

from functools import cache
from mimetypes import MimeTypes
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_UNKNOWN = "application/octet-stream"


def kind(url: str, told: str) -> tuple[str, str]:
    """The content type, and the suffix of the name: by the URL first, since that does not change.

    ``told``: the type that the origin has told, or "".
    """
    suffix = PurePosixPath(_path(url)).suffix.lower()
    known = _types().guess_type(f"x{suffix}")[0]
    if known is None:
        suffix = _types().guess_extension(told) or ".bin"
    return told or known or _UNKNOWN, suffix


def _path(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:  # libcurl has read it all the same
        return ""


def media_type(name: str) -> str:
    """What a file of this name is served as."""
    return _types().guess_type(name)[0] or _UNKNOWN


@cache
def _types() -> MimeTypes:
    """Python's own table: the machine's may differ from the next machine's, and with it a name.

    Made by whoever asks: it takes as long as much of a process's start.
    """
    return MimeTypes()
