"""What a good image is."""

from __future__ import annotations

import base64
import io
import struct
import threading
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError
from PIL import Image as Pillow

from schemas import images
from schemas.images import decode_data_uri, is_data_uri, read

DATA = Path(__file__).parent.parent / "data"
ASTRONAUT = (DATA / "astronaut.jpg").read_bytes()


def picture(width=400, height=400, kind="JPEG", mode="RGB", **options):
    """A picture with so much in it that its last rows take bytes."""
    noise = Pillow.effect_noise((width, height), 80).convert(mode)
    out = io.BytesIO()
    noise.save(out, kind, **options)
    return out.getvalue()


def plain(width, height, kind="PNG"):
    out = io.BytesIO()
    Pillow.new("1" if kind == "PNG" else "L", (width, height)).save(out, kind)
    return out.getvalue()


def uri(data, label="image/jpeg", head="data:{};base64,"):
    return head.format(label) + base64.b64encode(data).decode()


def fault(call, value):
    with pytest.raises(ValidationError) as caught:
        call(value)
    (complaint,) = caught.value.messages
    return complaint


@pytest.mark.parametrize(
    ("name", "width", "height", "size"),
    [("astronaut.jpg", 512, 512, 60270), ("rocket.jpg", 640, 427, 45971)],
)
def test_a_photograph_is_read(name, width, height, size):
    image = read((DATA / name).read_bytes())
    assert (image.media_type, image.width, image.height, image.bytes) == ("image/jpeg", width, height, size)
    assert image.describe() == {"media_type": "image/jpeg", "bytes": size, "sha256": image.sha256}
    assert len(image.sha256) == 64


def test_an_image_never_shows_its_bytes():
    assert "data" not in repr(read(ASTRONAUT))


@pytest.mark.parametrize(
    "head",
    [
        "data:image/jpeg;base64,",
        "data:image/jpeg; base64,",
        "data:image/jpg;base64,",
        "DATA:IMAGE/JPEG;BASE64,",
        "Data: image/jpeg ; Base64 ,",
        "  data:image/jpeg;base64,",
        "data:image/jpeg;name=a.jpg;base64,",
        "data:image/png;base64,",
        "data:image/webp;base64,",
    ],
)
def test_a_data_uri_is_read_however_its_head_is_spelled(head):
    text = head + base64.b64encode(ASTRONAUT).decode()
    assert is_data_uri(text)
    assert decode_data_uri(text).data == ASTRONAUT


def test_a_png_that_is_labelled_a_jpeg_is_a_png():
    image = decode_data_uri(uri(picture(kind="PNG"), "image/jpeg"))
    assert image.media_type == "image/png"
    assert image.data_uri().startswith("data:image/png;base64,")
    assert decode_data_uri(image.data_uri()) == image


def test_line_breaks_in_base64_are_passed_over():
    lines = base64.encodebytes(ASTRONAUT).decode().replace("\n", "\r\n\t ")
    assert decode_data_uri(f"data:image/jpeg;base64,\n{lines}").data == ASTRONAUT


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("data:", "invalid_data_uri"),
        ("data:image/jpeg;base64", "invalid_data_uri"),
        ("data:" + "x" * 300 + ",", "invalid_data_uri"),
        ("data:;base64,aGk=", "invalid_data_uri"),
        ("data:text/plain;base64,aGk=", "invalid_data_uri"),
        ("data:image/jpeg,aGk=", "invalid_data_uri"),
        ("data:image/jpeg;base64;x=1,aGk=", "invalid_data_uri"),
        ("data:image/jpeg;base64,", "image_format"),
        ("data:image/jpeg;base64,a", "invalid_base64"),
        ("data:image/jpeg;base64,aGk", "invalid_base64"),
        ("data:image/jpeg;base64,aGk=aGk=", "invalid_base64"),
        ("data:image/jpeg;base64,aG-_", "invalid_base64"),
        ("data:image/jpeg;base64,aGé=", "invalid_base64"),
        ("data:image/jpeg;base64,%2F9j", "invalid_base64"),
        ("data:image/jpeg;base64,====", "invalid_base64"),
        ("data:image/jpeg;base64,aGk=", "image_format"),
    ],
)
def test_a_data_uri_with_a_fault_is_refused(text, code):
    assert is_data_uri(text)
    assert fault(decode_data_uri, text).code == code


@pytest.mark.parametrize(
    ("kind", "name"), [("GIF", "a GIF"), ("WEBP", "a WebP"), ("BMP", "a BMP"), ("TIFF", "a TIFF")]
)
def test_another_format_is_refused_by_its_name(kind, name):
    complaint = fault(decode_data_uri, uri(picture(kind=kind)))
    assert (complaint, complaint.code) == (f"is {name}; a JPEG or PNG", "image_format")


@pytest.mark.parametrize("data", [b"", b"hello", b"<svg></svg>", b"\xff\xd8", b"\x89PNG", bytes(1000)])
def test_what_is_no_image_is_refused(data):
    assert fault(read, data).code == "image_format"


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("width", "height"), [(301, 301), (301, 752), (752, 301), (4000, 1601), (641, 1600)])
def test_a_shape_just_inside_the_rules_is_taken(kind, width, height):
    image = read(plain(width, height, kind))
    assert (image.width, image.height) == (width, height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("width", "height", "code"),
    [
        (300, 400, "image_short_side"),
        (400, 300, "image_short_side"),
        (1, 1, "image_short_side"),
        (400, 1000, "image_aspect_ratio"),
        (1000, 400, "image_aspect_ratio"),
        (301, 753, "image_aspect_ratio"),
        (2000, 401, "image_aspect_ratio"),
    ],
)
def test_a_shape_on_the_edge_of_the_rules_or_beyond_is_refused(kind, width, height, code):
    complaint = fault(read, plain(width, height, kind))
    assert complaint.code == code
    assert complaint.startswith(f"is {width} x {height} px; ")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_changes_no_verdict(orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    assert read(picture(700, 400, exif=exif)).width == 700


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_every_usual_jpeg_is_taken(mode, progressive):
    assert read(picture(mode=mode, progressive=progressive)).media_type == "image/jpeg"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_usual_png_is_taken(mode):
    assert read(picture(kind="PNG", mode=mode)).media_type == "image/png"


def test_a_jpeg_with_a_second_picture_or_a_film_behind_it_is_taken():
    out = io.BytesIO()
    Pillow.effect_noise((400, 400), 50).convert("RGB").save(
        out, "MPO", save_all=True, append_images=[Pillow.new("RGB", (400, 400))]
    )
    assert read(out.getvalue()).media_type == "image/jpeg"
    assert read(ASTRONAUT + b"\xff\xda\xff\xff" * 5000).media_type == "image/jpeg"


def test_an_animated_png_is_a_png():
    data = picture(kind="PNG", save_all=True, append_images=[Pillow.new("RGB", (400, 400))])
    assert read(data).media_type == "image/png"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"kind": "PNG"}])
def test_a_truncated_file_is_refused_wherever_it_was_cut(options):
    data = picture(**options)
    cuts = [*range(len(data) - 40, len(data)), *range(40, len(data), len(data) // 40)]
    assert {fault(read, data[:cut]).code for cut in cuts} == {"image_broken"}


def test_only_the_end_marker_missing_is_truncated_too():
    assert fault(read, plain(400, 400, "JPEG")[:-2]).code == "image_broken"


def test_a_decompression_bomb_is_refused_by_its_head_alone():
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    assert fault(read, b"\x89PNG\r\n\x1a\n" + chunk + idat).code == "image_pixels"
    small, large = struct.pack(">HH", 400, 400), struct.pack(">HH", 65_000, 65_000)
    bomb = plain(400, 400, "JPEG").replace(small, large, 1)
    assert fault(read, bomb).code == "image_pixels"


def test_fifty_megapixels_are_the_limit():
    assert read(plain(10_000, 5_000)).width == 10_000
    assert fault(read, plain(10_000, 5_001)).code == "image_pixels"


def test_a_jpeg_of_very_many_scans_is_refused():
    data = picture(2000, 2000, progressive=True)
    scan = data.index(b"\xff\xda")
    assert fault(read, data[:scan] + b"\xff\xda\0\x08\1\1\0\0\0\0" * 300 + data[scan:]).code == "image_pixels"


def test_twenty_megabytes_are_the_limit():
    room = images.MAX_BYTES - len(ASTRONAUT)
    assert decode_data_uri(uri(ASTRONAUT + bytes(room))).bytes == images.MAX_BYTES
    assert fault(read, ASTRONAUT + bytes(room + 1)).code == "image_too_large"
    complaint = fault(decode_data_uri, uri(ASTRONAUT + bytes(room + 1)))
    assert complaint == "is 20.0 MB large; at most 20 MB (20971520 bytes)"
    assert complaint.code == "image_too_large"


def test_a_huge_data_uri_is_refused_before_it_is_decoded():
    assert fault(decode_data_uri, "data:image/png;base64," + "!" * 50_000_000).code == "image_too_large"


def test_many_threads_read_large_images_at_once():
    good, bad = picture(2500, 2000, "PNG", "L"), picture(2500, 2000)[:-3000]
    found: list[int | str] = []

    def work(data):
        try:
            found.append(read(data).width)
        except ValidationError:
            found.append("refused")

    threads = [threading.Thread(target=work, args=(data,)) for data in (good, bad) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found, key=str) == [2500] * 4 + ["refused"] * 4


@given(st.data())
def test_whatever_is_done_to_an_image_ends_in_an_image_or_a_complaint(data):
    original = data.draw(st.sampled_from([ASTRONAUT, plain(400, 400), plain(400, 400, "JPEG")]))
    start, gone = data.draw(st.integers(0, len(original))), data.draw(st.integers(0, 64))
    changed = original[:start] + data.draw(st.binary(max_size=64)) + original[start + gone :]
    try:
        width = read(changed).width
    except ValidationError:
        width = None
    assert width is None or width > 300
