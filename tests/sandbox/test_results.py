"""Results, lists, the account and the catalogue."""

from __future__ import annotations

import re

import pytest
import requests

from schemas.models import MODELS
from tests.sandbox.client import FAST, T2V, Client


@pytest.mark.parametrize("path", ["", "/result"])
def test_both_result_paths_show_the_prediction(client, path):
    task_id = client.created()
    client.ended(task_id)
    response = client.call("GET", f"/api/v3/predictions/{task_id}{path}")
    data = response.json()["data"]
    assert response.json() | {"data": None} == {"code": 200, "message": "success", "data": None}
    assert data["outputs"] == [f"{client.url}/outputs/{task_id}.mp4"]
    assert data["has_nsfw_contents"] == [False]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d*[1-9])?Z", data["created_at"])
    assert data["timings"]["inference"] == data["executionTime"] >= 0
    assert client.counts()["result_get"] == 2


def test_an_unknown_id_is_404(client):
    response = client.call("GET", "/api/v3/predictions/0123/result")
    assert (response.status_code, response.json()["code"]) == (404, 404)


@pytest.mark.parametrize("status", [404, 429, 500, 502, 504])
def test_a_result_can_be_answered_with_a_status(client, status):
    task_id = client.created()
    client.ended(task_id)
    client.switch(result=status)
    assert client.call("GET", f"/api/v3/predictions/{task_id}").status_code == status
    client.switch()
    assert client.get(task_id)["status"] == "completed"


def test_a_result_can_be_nonsense(client):
    client.switch(result="not_json")
    assert client.call("GET", f"/api/v3/predictions/{client.created()}").text.startswith("<html>")
    client.switch(result="null_data")
    assert client.call("GET", f"/api/v3/predictions/{client.created()}").json()["data"] is None
    client.switch(result="cut")
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get(client.created())


def test_a_job_keeps_the_result_switch_that_it_was_given(client):
    client.next(result="processing")
    stuck, other = client.created(), client.created()
    client.log("ended", 2)
    assert client.get(stuck)["status"] == "processing"
    assert client.get(other)["status"] == "completed"


def test_what_runs_can_have_a_status_that_nobody_knows(client):
    client.next(running_status="queued", delay=3600)
    task_id = client.created()
    client.next(callback="processing_first")
    assert client.get(task_id)["status"] in {"created", "queued"}
    client.ended(client.created())
    assert client.get(task_id)["status"] == "queued"


def test_empty_lists_can_be_null_or_absent(client):
    client.next(empty_outputs="null", nsfw="null", outcome="failed")
    data = client.ended(client.created())
    assert (data["outputs"], data["has_nsfw_contents"]) == (None, None)
    client.next(empty_outputs="absent", nsfw="absent", outcome="failed")
    assert {"outputs", "has_nsfw_contents"}.isdisjoint(client.ended(client.created()))


def test_the_list_is_newest_first_in_pages_and_filtered(client, rocket_uri):
    first, second = client.created(), client.created()
    fast = client.created(model=FAST, image=rocket_uri)
    client.log("ended", 3)

    def listed(**query):
        data = client.call("POST", "/api/v3/predictions", json=query).json()["data"]
        return [item["id"] for item in data["items"]]

    assert listed() == [fast, second, first]
    assert listed(page=2, page_size=2) == [first]
    assert listed(model=T2V) == [second, first]
    assert listed(status="failed") == []
    assert listed(created_after="2000-01-01T00:00:00Z", status="completed") == [fast, second, first]
    assert listed(created_before="2000-01-01T00:00:00Z") == []


def test_listed_items_carry_neither_input_nor_webhook(client, receiver):
    client.created(receiver.url)
    item = client.call("POST", "/api/v3/predictions", json={"page": 1, "page_size": 1}).json()["data"][
        "items"
    ][0]
    assert {"input", "webhook"}.isdisjoint(item)


@pytest.mark.parametrize(
    "query", [{"page_size": 101}, {"page": "1"}, {"created_after": "yesterday"}, {"x": 1}]
)
def test_a_bad_list_query_is_400(client, query):
    assert client.call("POST", "/api/v3/predictions", json=query).status_code == 400


def test_deleting_tells_how_many_were_there(client):
    mine, theirs = client.created(), Client(client.url, "somebody").created()
    response = client.call("POST", "/api/v3/predictions/delete", json={"ids": [mine, mine, theirs, "nope"]})
    assert response.json()["data"] == {"deleted_count": 1}
    assert client.call("GET", f"/api/v3/predictions/{mine}").status_code == 404
    assert client.log("delete")[0]["ids"] == [mine, mine, theirs, "nope"]


def test_the_secret_comes_in_three_shapes(client):
    secret = client.secret()
    assert secret.startswith("whsec_")
    client.switch(secret_shape="top")
    assert client.call("GET", "/api/v3/webhook/secret").json()["secret"] == secret
    client.switch(secret_shape="data_string")
    assert client.call("GET", "/api/v3/webhook/secret").json()["data"] == secret


@pytest.mark.parametrize("how", [401, 404, 500, 502])
def test_the_secret_can_be_withheld(client, how):
    client.switch(secret_get=how)
    assert client.call("GET", "/api/v3/webhook/secret").status_code == how


def test_the_secret_can_be_nonsense(client):
    client.switch(secret_get="null_data")
    assert client.call("GET", "/api/v3/webhook/secret").json()["data"] is None
    client.switch(secret_get="not_json")
    assert client.call("GET", "/api/v3/webhook/secret").text.startswith("<html>")


def test_the_balance_is_what_it_is_switched_to(client):
    client.switch(balance=3.5)
    client.created()
    assert client.call("GET", "/api/v3/balance").json()["data"] == {"balance": 3.5}


@pytest.mark.parametrize("how", [401, 429, 500, 502])
def test_the_balance_can_fail(client, how):
    client.switch(balance_get=how)
    assert client.call("GET", "/api/v3/balance").status_code == how


def test_the_balance_can_be_cut(client):
    client.switch(balance_get="cut")
    with pytest.raises(requests.exceptions.ConnectionError):
        client.call("GET", "/api/v3/balance")


def test_the_price_is_the_base_price(client):
    query = {"model_id": FAST, "inputs": {"duration": 6}}
    assert client.call("POST", "/api/v3/model/price", json=query).json()["data"] == {"price": 0.1}
    assert client.call("POST", "/api/v3/model/price", json={"model_id": "x"}).status_code == 404


def test_the_catalogue_has_the_models_with_their_schemas(client):
    models = client.call("GET", "/api/v3/models").json()["data"]
    assert [model["model_id"] for model in models] == list(MODELS)
    assert {"name", "base_price", "description", "type", "api_schema"} <= set(models[0])


def test_an_unknown_path_is_404_in_json(client):
    assert client.call("GET", "/api/v3/nothing/here").json()["code"] in {404, 405}
