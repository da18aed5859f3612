"""The Hailuo family: one table of what each model takes, and the vendor's catalogue made from it.

Source: the vendor's catalogue as of August 2026. A model's parameters stand in the vendor's order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, Literal

from schemas.faults import Complaint, refusal

Kind = Literal["string", "image", "integer", "boolean"]

PROMPT_CHARACTERS: Final = 2000
MAX_MODEL_ID: Final = 128
IMAGE_ALLOWED: Final = "a public URL or a data:image/...;base64 URI of a JPEG or PNG"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model. ``default`` None: nothing is sent when the caller gives nothing."""

    name: str
    kind: Kind
    description: str
    required: bool = False
    default: int | bool | None = None
    choices: tuple[int, ...] = ()

    @property
    def allowed(self) -> str:
        """What a good value is, as the end of a sentence."""
        if self.kind == "integer":
            return ", ".join(map(str, self.choices))
        return {
            "string": f"text of at most {PROMPT_CHARACTERS} characters",
            "image": IMAGE_ALLOWED,
            "boolean": "true or false",
        }[self.kind]

    @property
    def json_schema(self) -> dict[str, Any]:
        """The parameter as the vendor's catalogue describes it."""
        schema: dict[str, Any] = {
            "type": "string" if self.kind == "image" else self.kind,
            "description": self.description,
        }
        if self.kind == "string":
            schema["maxLength"] = PROMPT_CHARACTERS
        if self.default is not None:
            schema["default"] = self.default
        if self.choices:
            schema["enum"] = list(self.choices)
        return schema


@dataclass(frozen=True)
class Model:
    """One model; ``price`` is the vendor's base price in USD, that of a 6 s video."""

    id: str
    resolution: str
    price: Decimal
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """``Minimax Hailuo 02 I2V Pro``."""
        words = re.split(r"[/-]", self.id)
        return " ".join(word.upper() if word in {"i2v", "t2v"} else word.capitalize() for word in words)

    @property
    def type(self) -> str:
        """The vendor's word for what goes in and what comes out."""
        takes_images = any(parameter.kind == "image" for parameter in self.parameters)
        return "image-to-video" if takes_images else "text-to-video"

    @property
    def description(self) -> str:
        """One sentence."""
        return f"{self.name}: {self.type} at {self.resolution}."

    @property
    def request_schema(self) -> dict[str, Any]:
        """The body of a submission as a JSON Schema."""
        return {
            "type": "object",
            "properties": {parameter.name: parameter.json_schema for parameter in self.parameters},
            "required": [parameter.name for parameter in self.parameters if parameter.required],
            "additionalProperties": False,
            "x-order-properties": [parameter.name for parameter in self.parameters],
        }

    @property
    def api_schema(self) -> dict[str, Any]:
        """Where the vendor's own clients look for the request: ``api_schemas[0].request_schema``."""
        run = {
            "type": "model_run",
            "method": "POST",
            "api_path": f"/api/v3/{self.id}",
            "request_schema": self.request_schema,
        }
        return {"api_schemas": [run]}

    @property
    def catalogue_entry(self) -> dict[str, Any]:
        """The model's row in ``GET /api/v3/models``."""
        return {
            "model_id": self.id,
            "name": self.name,
            "base_price": float(self.price),
            "description": self.description,
            "type": self.type,
            "api_schema": self.api_schema,
        }


def _prompt(*, required: bool) -> Parameter:
    return Parameter("prompt", "string", "The positive prompt for the generation.", required=required)


def _image(*, required: bool) -> Parameter:
    return Parameter("image", "image", f"The first frame: {IMAGE_ALLOWED}.", required=required)


def _duration(*choices: int) -> Parameter:
    text = "The length of the video in seconds."
    return Parameter("duration", "integer", text, default=choices[0], choices=choices)


def _expand(*, default: bool) -> Parameter:
    text = "Whether the model improves the prompt, which also turns on the safety checker."
    return Parameter("enable_prompt_expansion", "boolean", text, default=default)


PROMPT, NEEDS_PROMPT = _prompt(required=False), _prompt(required=True)
IMAGE, NEEDS_IMAGE = _image(required=False), _image(required=True)
END_IMAGE = Parameter("end_image", "image", f"The last frame: {IMAGE_ALLOWED}.")
DURATION, SIX = _duration(6, 10), _duration(6)
EXPAND, AS_IS = _expand(default=True), _expand(default=False)
GO_FAST = Parameter("go_fast", "boolean", "Faster generation at a moderate cost in quality.", default=True)

_TABLE: Final = (
    # model                            pixels   USD     parameters
    ("minimax/hailuo-02/fast",         "512p",  "0.10", (NEEDS_IMAGE, PROMPT, DURATION, EXPAND, GO_FAST)),
    ("minimax/hailuo-02/standard",     "768p",  "0.23", (NEEDS_PROMPT, IMAGE, END_IMAGE, DURATION, AS_IS)),
    ("minimax/hailuo-02/pro",          "1080p", "0.48", (NEEDS_PROMPT, IMAGE, END_IMAGE, SIX, AS_IS)),
    ("minimax/hailuo-02/i2v-standard", "768p",  "0.23", (NEEDS_IMAGE, PROMPT, END_IMAGE, DURATION, AS_IS)),
    ("minimax/hailuo-02/i2v-pro",      "1080p", "0.49", (NEEDS_IMAGE, PROMPT, END_IMAGE, EXPAND)),
    ("minimax/hailuo-02/t2v-standard", "768p",  "0.23", (NEEDS_PROMPT, DURATION, EXPAND)),
    ("minimax/hailuo-02/t2v-pro",      "1080p", "0.48", (NEEDS_PROMPT, EXPAND)),
    ("minimax/hailuo-2.3/fast",        "768p",  "0.19", (NEEDS_IMAGE, PROMPT, DURATION, EXPAND, GO_FAST)),
    ("minimax/hailuo-2.3/fast-pro",    "1080p", "0.33", (NEEDS_IMAGE, PROMPT, SIX, EXPAND, GO_FAST)),
    ("minimax/hailuo-2.3/i2v-standard", "768p",  "0.28", (NEEDS_IMAGE, PROMPT, DURATION, AS_IS)),
    ("minimax/hailuo-2.3/i2v-pro",     "1080p", "0.49", (NEEDS_IMAGE, PROMPT, EXPAND)),
    ("minimax/hailuo-2.3/t2v-standard", "768p",  "0.28", (NEEDS_PROMPT, DURATION, EXPAND)),
    ("minimax/hailuo-2.3/t2v-pro",     "1080p", "0.49", (NEEDS_PROMPT, EXPAND)),
)  # fmt: skip

MODELS: Final[Mapping[str, Model]] = MappingProxyType(
    {id_: Model(id_, pixels, Decimal(price), parameters) for id_, pixels, price, parameters in _TABLE}
)

_MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)+")
_NOT_MODELS: Final = frozenset(
    {"access_keys", "balance", "billings", "media", "model", "models", "predictions", "user", "webhook"}
)


def check_model_id(text: str) -> str:
    """``text`` when it may stand in ``POST /api/v3/{model}``; else ValidationError.

    The id becomes a part of the vendor's URL, under our key: it must not leave the models' part of it.
    """
    allowed = "like minimax/hailuo-02/fast"
    if len(text) > MAX_MODEL_ID or not _MODEL_ID.fullmatch(text):
        raise refusal("is not a model id", code="invalid_model", allowed=allowed)
    if text.partition("/")[0] in _NOT_MODELS:
        raise refusal("is not a model but another part of the API", code="invalid_model", allowed=allowed)
    return text


def unknown_parameter(names: Iterable[str]) -> Complaint:
    """What is said of a parameter that a model does not take."""
    allowed = ", ".join(names)
    return Complaint(f"is not a parameter of this model; {allowed}", code="unknown", allowed=allowed)
