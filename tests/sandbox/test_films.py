"""The films: real H.264 that can be played and sought in. Each costs a second; hence few of them."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import av
import pytest
import requests
import wavespeed
from PIL import Image

from service.sandbox.render import COMMENT, frame_size
from tests.sandbox.client import FAST, T2V


def looked_at(film: bytes) -> dict[str, Any]:
    with av.open(BytesIO(film)) as container:
        stream = container.streams.video[0]
        frames = len(list(container.decode(stream)))
        return {
            "codec": stream.codec.name,
            "size": (stream.width, stream.height),
            "pixels": stream.pix_fmt,
            "seconds": container.duration / av.time_base,
            "frames": frames,
            "comment": container.metadata["comment"],
        }


def test_the_official_client_uploads_a_picture_and_gets_a_film(client, rocket):
    client.switch(render="real")
    sdk = wavespeed.Client(api_key=client.key, base_url=client.url)
    url = sdk.upload(str(rocket))
    outputs = sdk.run(FAST, {"image": url, "prompt": "up"}, poll_interval=0.2)["outputs"]
    film = requests.get(outputs[0], timeout=10).content
    assert looked_at(film) == {
        "codec": "h264",
        "size": (768, 512),
        "pixels": "yuv420p",
        "seconds": 6,
        "frames": 144,
        "comment": COMMENT,
    }
    assert film.index(b"moov") < film.index(b"mdat")


def test_a_second_picture_is_faded_to_and_ten_seconds_are_ten(client, rocket_uri):
    client.switch(render="real")
    portrait = BytesIO()
    Image.new("RGB", (400, 700), "teal").save(portrait, "PNG")
    end = "data:image/png;base64," + base64.b64encode(portrait.getvalue()).decode()
    task_id = client.created(
        model="minimax/hailuo-02/standard", prompt="x", image=end, end_image=rocket_uri, duration=10
    )
    film = requests.get(client.ended(task_id)["outputs"][0], timeout=10).content
    seen = looked_at(film)
    assert (seen["seconds"], seen["frames"], seen["size"]) == (10, 240, (512, 896))


def test_without_a_picture_the_prompt_is_filmed(client):
    client.switch(render="real")
    data = client.submit(T2V, prompt="日本 a cat [sandbox: nsfw=list]", enable_sync_mode=True).json()["data"]
    assert data["status"] == "completed", data
    film = requests.get(data["outputs"][0], timeout=10).content
    assert looked_at(film)["size"] == (910, 512)


def test_tiny_films_are_one_small_file_that_plays(client):
    client.switch(render="tiny")
    first, second = (client.ended(client.created())["outputs"][0] for _ in range(2))
    assert first != second
    film = requests.get(first, timeout=10).content
    assert film == requests.get(second, timeout=10).content
    assert (looked_at(film)["seconds"], looked_at(film)["frames"]) == (6, 6)
    assert client.log("output_get", 2)[0]["status"] == 200


def test_a_film_is_public_and_comes_in_ranges(client):
    client.switch(render="tiny")
    url = client.ended(client.created())["outputs"][0]
    response = requests.get(url, headers={"Range": "bytes=4-7"}, timeout=10)
    assert (response.status_code, response.content) == (206, b"ftyp")
    assert response.headers["Content-Type"] == "video/mp4"


def test_base64_output_is_the_film_itself(client):
    client.switch(render="tiny")
    data = client.submit(enable_base64_output=True, enable_sync_mode=True).json()["data"]
    assert looked_at(base64.b64decode(data["outputs"][0], validate=True))["codec"] == "h264"


def test_nothing_is_behind_the_url_of_a_film_that_was_not_made(client):
    url = client.ended(client.created())["outputs"][0]
    assert requests.get(url, timeout=10).status_code == 404


@pytest.mark.parametrize(
    ("picture", "film"),
    [
        ((640, 427), (768, 512)),
        ((427, 640), (512, 768)),
        ((512, 512), (512, 512)),
        ((2499, 1000), (1280, 512)),
        ((1000, 2499), (512, 1280)),
    ],
)
def test_a_film_keeps_the_pictures_shape_with_even_sides(picture, film):
    assert frame_size(picture) == film
