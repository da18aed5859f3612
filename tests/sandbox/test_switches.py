"""The switches as such: names, values, layers, documentation; and the book."""

from __future__ import annotations

import re
from dataclasses import asdict, fields
from pathlib import Path

import pytest

from service.sandbox.switchboard import SCHEMA, from_prompt, in_force, parse, table
from service.sandbox.switches import Switches
from tests.sandbox.client import Client

TESTS = Path(__file__).parent
DOCS = TESTS.parent.parent / "docs" / "sandbox.md"


def test_the_schema_has_the_same_switches_as_the_object():
    assert list(SCHEMA.fields) == [field.name for field in fields(Switches)]


def test_every_default_is_a_value_that_may_be_set():
    defaults = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(Switches()).items()}
    assert in_force(parse(defaults)) == Switches()


def test_the_docs_have_the_table_of_the_switches():
    assert table() in DOCS.read_text()


def test_every_switch_is_used_by_a_test():
    used = "".join(path.read_text() for path in TESTS.glob("test_*.py"))
    unused = [field.name for field in fields(Switches) if not re.search(rf"\b{field.name}=", used)]
    assert unused == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"calback": "none"}, ["calback", "callback_timeout"]),
        ({"callback": "sometimes"}, ["callback", "before_answer"]),
        ({"delay": "1"}, ["delay", "number"]),
        ({"delay": -1}, ["delay", "0 to 86400"]),
        ({"render": None}, ["render", "tiny"]),
        ({"fetch": 1}, ["fetch", "true or false"]),
        ({"code": 1404}, ["code", "1403"]),
        ({"callback_retries": [1] * 11}, ["callback_retries"]),
        ({"callback_statuses": ["done"]}, ["callback_statuses", "completed"]),
    ],
)
def test_a_bad_switch_is_400_naming_it_and_what_is_allowed(client, body, said):
    response = client.call("PUT", "/sandbox/switches", json=body)
    assert response.status_code == 400
    assert all(word in response.json()["message"] for word in said), response.text
    response = client.call("POST", "/sandbox/next", json={"switches": body})
    assert response.status_code == 400


def test_switches_are_replaced_shown_and_reset(client):
    client.call("PUT", "/sandbox/switches", json={"submit": 429, "delay": 2})
    client.call("PUT", "/sandbox/switches", json={"render": "tiny"})
    shown = client.call("GET", "/sandbox/switches").json()
    assert shown["set"] == {"render": "tiny"}
    assert (shown["in_force"]["render"], shown["in_force"]["submit"]) == ("tiny", "accept")
    client.call("DELETE", "/sandbox/switches")
    assert client.call("GET", "/sandbox/switches").json()["set"] == {}


def test_queued_switches_are_for_one_submission_each_in_order(client):
    client.next(2, submit=429)
    client.next(submit=500)
    assert len(client.call("GET", "/sandbox/next").json()["queued"]) == 3
    assert [client.submit().status_code for _ in range(4)] == [429, 429, 500, 200]


def test_the_queue_can_be_emptied(client):
    client.next(3, submit=429)
    client.call("DELETE", "/sandbox/next")
    assert client.submit().status_code == 200


@pytest.mark.parametrize(
    "body", [{"count": 0, "switches": {}}, {"submit": 429}, {"count": "1", "switches": {}}]
)
def test_a_bad_queue_entry_is_400(client, body):
    assert client.call("POST", "/sandbox/next", json=body).status_code == 400


def test_the_key_may_stand_in_the_query(client):
    headers = {"Authorization": ""}
    path = f"/sandbox/switches?key={client.key}"
    client.call("PUT", path, json={"submit": 503}, headers=headers)
    assert client.submit().status_code == 503


def test_a_prompt_can_carry_switches_for_its_own_job(client):
    response = client.submit(prompt="a cat [sandbox: submit=503 retry_after=3 error_shape=error] on a mat")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    assert "error" in response.json()
    assert client.submit().status_code == 200


def test_a_prompt_overrules_the_queue_and_the_queue_the_account(client):
    client.switch(submit=400)
    client.next(submit=403)
    client.next(submit=403)
    assert client.submit(prompt="[sandbox: submit=accept]").status_code == 200
    assert client.submit().status_code == 403
    assert client.submit().status_code == 400


def test_a_bad_switch_in_a_prompt_is_400(client):
    response = client.submit(prompt="[sandbox: calback=none]")
    assert response.status_code == 400
    assert "calback" in response.json()["message"]


def test_the_magic_of_a_prompt_reads_lists_numbers_and_flags():
    assert from_prompt(
        "x [sandbox: callback_retries=0.5,1 created=true submit=429] [sandbox: code=1200]"
    ) == {
        "callback_retries": (0.5, 1),
        "created": True,
        "submit": "429",
        "code": 1200,
    }
    assert from_prompt("no magic") == from_prompt(None) == {}


def test_the_defaults_film_and_retry_as_documented():
    defaults = Switches()
    assert (defaults.render, defaults.fetch, defaults.callback_retries) == ("real", True, (1, 2, 4))


def test_the_book_can_be_waited_for_filtered_and_cleared(client):
    other = Client(client.url, "yet another")
    other.switch()
    other.created()
    task_id = client.created()
    entry = client.log("submit", 1)[0]
    assert entry["id"] == task_id
    assert (entry["status"], entry["done"], entry["created"]) == (200, True, True)
    assert client.counts() | {"submit": 1, "tasks_created": 1, "callback": 0} == client.counts()
    everything = client.call("GET", "/sandbox/log", headers={"Authorization": ""}).json()
    assert {entry["n"] for entry in everything} == {entry["n"] for entry in everything if entry["at"]}
    assert [entry["n"] for entry in everything] == sorted(entry["n"] for entry in everything)
    assert client.call("DELETE", "/sandbox/log").json() == []
    assert client.log("submit") == []
    assert client.counts()["submit"] == 0


@pytest.mark.parametrize("query", [{"kind": "nonsense"}, {"wait": "x"}, {"count": "-1"}])
def test_a_bad_question_to_the_book_is_400(client, query):
    assert client.call("GET", "/sandbox/log", params=query).status_code == 400


def test_keys_are_nowhere_in_the_book(client):
    client.created()
    assert client.key not in client.call("GET", "/sandbox/log", headers={"Authorization": ""}).text


def test_a_secret_is_rotated_for_one_account_only(client):
    assert client.call("POST", "/sandbox/rotate-secret", headers={"Authorization": ""}).status_code == 400
