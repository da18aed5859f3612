"""Every way the sandbox can be made to behave, as one frozen object and one schema.

The schema's fields carry the sentences of ``docs/sandbox.md``; a test holds the two together. A job keeps the
values that it was submitted with; a switch whose ``scope`` is ``call`` is read at each call instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from schemas.fields import Choice, Flag, Items, Number, OneOfIntegers, Strict, Text, Whole

CODES = (1200, 1400, 1401, 1402, 1403, 1405, 1406, 1407, 5000, 5003, 5004)
FINAL = ("completed", "failed", "cancelled", "timeout", "deleted")
EMPTY = ("list", "null", "absent")
LONGEST = 86_400
MANY = 1_000_000


@dataclass(frozen=True)
class Switches:
    """The values in force for one job or one call; the names and meanings are those of ``SwitchesSchema``."""

    submit: str = "accept"
    created: bool | None = None
    answer_delay: float = 0
    retry_after: int | None = None
    error_shape: str = "code_message"
    render: str = "real"
    fetch: bool = True
    delay: float = 0
    outcome: str = "completed"
    code: int | None = None
    error: str | None = None
    running_status: str = "processing"
    empty_outputs: str = "list"
    nsfw: str = "list"
    sync_seconds: float = 90
    callback: str = "once"
    callback_delay: float = 0
    callback_retries: tuple[float, ...] = (1, 2, 4)
    callback_timeout: float = 10
    callback_to: str = "given"
    callback_statuses: tuple[str, ...] = ("completed", "failed")
    callback_input: bool = False
    callback_id: str = "prediction"
    callback_signature: str = "good"
    callback_timestamp: int = 0
    callback_body: str = "bare"
    result: str = "ok"
    auth: str = "any"
    max_tasks: int | None = None
    over_limit: str = "wait"
    max_per_minute: int | None = None
    upload: str = "ticket"
    secret_shape: str = "data"  # noqa: S105 - the shape, not the secret
    secret_get: str = "ok"  # noqa: S105
    balance: float = 1000
    balance_get: str = "ok"

    @property
    def task_created(self) -> bool:
        """Whether a submission makes a task, whatever its answer says."""
        return self.submit in {"accept", "cut_after", "cut_midway"} if self.created is None else self.created


def _says(description: str, scope: str = "job") -> dict[str, Any]:
    return {"metadata": {"description": description, "scope": scope}}


def _seconds(description: str, least: float = 0) -> Number:
    return Number(least=least, most=LONGEST, unit="s", **_says(description))


class SwitchesSchema(Strict):
    """Checks a JSON object of switches; unknown ones are refused. Loads to a dict of what was given."""

    submit = Choice(
        *("accept", "307", "400", "401", "403", "404", "408", "429", "500", "502", "503", "504"),
        *("insufficient_credits", "envelope_500", "not_json", "no_id", "null_data", "empty"),
        *("cut_before", "cut_after", "cut_midway"),
        **_says(
            "How a submission is answered. A number is that HTTP status (502 and 504 as plain text, 307 to "
            "the same place); `insufficient_credits` a 400; `envelope_500` an HTTP 200 whose `code` is 500; "
            "`not_json`, `no_id`, `null_data` and `empty` an HTTP 200 of no use; `cut_*` a connection closed "
            "without an answer (before or after the task is created) or in the middle of it."
        ),
    )
    created = Flag(
        allow_none=True,
        **_says(
            "Whether the task is created, whatever the answer says. null: yes for `accept`, `cut_after` and "
            "`cut_midway`, else no."
        ),
    )
    answer_delay = _seconds("How long the answer to a submission is held back; the task is created before.")
    retry_after = Whole(
        least=0,
        most=LONGEST,
        allow_none=True,
        **_says(
            "`Retry-After` in answers that `submit` makes 429, 500, 502, 503 or 504; null: no such header."
        ),
    )
    error_shape = Choice(
        *("code_message", "error", "message_error_code", "data_error", "text"),
        **_says(
            'The body of errors: `{"code","message"}`, `{"error"}`, `{"message","error_code"}`, '
            '`{"code","message","data":{"error"}}` or plain text.'
        ),
    )
    render = Choice(
        *("real", "tiny", "none"),
        **_says(
            "`real`: the picture is filmed; `tiny`: one small film, made once, serves every job; `none`: "
            "only the URL of a film, for load tests."
        ),
    )
    fetch = Flag(
        **_says(
            "Whether pictures given by URL are fetched and looked at. With `render` `real` they always are."
        )
    )
    delay = _seconds("How long a task stays in progress beyond its rendering.")
    outcome = Choice(*FINAL, **_says("How the task ends."))
    code = OneOfIntegers(
        CODES,
        allow_none=True,
        **_says(
            "`data.code` of a task that does not complete; null: 1403 for `failed`, none for the others."
        ),
    )
    error = Text(
        least=1,
        most=500,
        allow_none=True,
        **_says("The error text of a task that does not complete; null: one that fits its code."),
    )
    running_status = Text(
        least=1,
        most=50,
        **_says("The status of a task in progress: any word that is not final means still running."),
    )
    empty_outputs = Choice(*EMPTY, **_says("`outputs` while there are none: `[]`, null or left out."))
    nsfw = Choice(*EMPTY, **_says("`has_nsfw_contents`: a list, null or left out."))
    sync_seconds = _seconds("When a submission with `enable_sync_mode` is answered with 5004.")
    callback = Choice(
        *("once", "none", "twice", "held", "before_answer", "processing_first", "processing_last"),
        **_says(
            "The webhook: once; not at all; twice; kept until `POST /sandbox/release`; before the submission "
            "is answered; after another one that says `processing`; before such a one."
        ),
    )
    callback_delay = _seconds("How long after the task's end its webhook is sent.")
    callback_retries = Items(
        Number(least=0, most=LONGEST, unit="s"),
        most=10,
        **_says("The seconds before each retry of a webhook that was not answered with 2xx."),
    )
    callback_timeout = _seconds("How long the receiver of a webhook has to answer.", least=0.1)
    callback_to = Choice(
        "given", "nobody", **_says("`nobody`: webhooks go to a port of this machine where nobody listens.")
    )
    callback_statuses = Items(
        Choice(*FINAL), most=len(FINAL), **_says("The final statuses for which a webhook is sent.")
    )
    callback_input = Flag(**_says("Whether the webhook carries `input`."))
    callback_id = Choice(
        *("prediction", "random", "fresh"),
        **_says(
            "`webhook-id`: the prediction's; a random one, the same over retries; a random one each time."
        ),
    )
    callback_signature = Choice(
        *("good", "wrong", "old_secret", "tampered", "other_version", "missing"),
        **_says(
            "The signature: good; made with another secret; with the secret before the last rotation; over "
            "another body; `v2` instead of `v3`; left out."
        ),
    )
    callback_timestamp = Whole(
        least=-LONGEST, most=LONGEST, **_says("Seconds added to `webhook-timestamp`: `-3600` is stale.")
    )
    callback_body = Choice(
        *("bare", "enveloped", "no_id", "other_id", "not_json", "huge"),
        **_says(
            "The webhook's body, signed in each case: the prediction; the prediction in the API's envelope; "
            "without its id; with another id; no JSON; over 1 MB."
        ),
    )
    result = Choice(
        *("ok", "404", "429", "500", "502", "504", "not_json", "null_data", "processing", "cut"),
        **_says(
            "How a result GET is answered: a number is that HTTP status, `processing` says in progress for "
            "ever, `cut` closes the connection. Read at each call, unless the job was given its own.",
            "call",
        ),
    )
    auth = Choice(
        *("any", "401", "403"),
        **_says("`any`: every key that is not empty is good; else none is, and this is the status.", "call"),
    )
    max_tasks = Whole(
        least=0, most=MANY, allow_none=True, **_says("Tasks at once, null: as many as come.", "call")
    )
    over_limit = Choice(
        *("wait", "429"),
        **_says(
            "A submission beyond `max_tasks`: accepted, and starts when another ends; or answered 429.",
            "call",
        ),
    )
    max_per_minute = Whole(
        least=0,
        most=MANY,
        allow_none=True,
        **_says("Tasks created in any 60 s, null: as many as come; beyond it 429.", "call"),
    )
    upload = Choice(
        *("ticket", "404", "500", "put_403", "put_500", "expired"),
        **_says(
            "`POST /media/uploads`: gives a ticket; answers 404 or 500; gives one whose PUT is answered 403 "
            "or 500; gives one that has expired.",
            "call",
        ),
    )
    secret_shape = Choice(
        *("data", "top", "data_string"),
        **_says(
            "Where the answer of `GET /webhook/secret` has it: `data.secret`, `secret`, or `data`.", "call"
        ),
    )
    secret_get = Choice(
        *("ok", "401", "404", "500", "502", "not_json", "null_data"),
        **_says("How `GET /webhook/secret` is answered.", "call"),
    )
    balance = Number(
        least=0,
        most=MANY,
        unit="USD",
        **_says(
            "The balance. It never falls; a model that costs more is refused for insufficient credits.",
            "call",
        ),
    )
    balance_get = Choice(
        *("ok", "401", "429", "500", "502", "cut"), **_says("How `GET /balance` is answered.", "call")
    )
