"""Sample events, for whoever wants to see what comes to an endpoint, and whether it arrives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from schemas.eventtypes import FINAL_TYPES, example
from schemas.faults import Fault
from service import events, rediskeys
from service.endpoints import Endpoints
from service.errors import InvalidInput
from service.store import Change, Store


@dataclass(frozen=True)
class Samples:
    """``clock`` in ms; ``event_id`` makes a fresh id."""

    store: Store
    endpoints: Endpoints
    clock: Callable[[], int]
    event_id: Callable[[], str]

    def send(self, workspace: str, endpoint_id: str, kind: str) -> str:
        """Deliver a sample of the type ``kind`` to this endpoint alone, whatever it hears of; the event's id.

        Raises `NotFound`, and `InvalidInput` for a type that its format does not carry.
        """
        endpoint = self.endpoints.get(workspace, endpoint_id)
        if endpoint.format == "wavespeed" and kind not in FINAL_TYPES:
            allowed = ", ".join(FINAL_TYPES)
            detail = f"{kind} is not sent in the format wavespeed; {allowed}"
            raise InvalidInput(Fault("/type", "choice", detail, allowed))
        data = {**example(kind)["data"], "test": True}
        told = events.without_job(self.event_id(), kind, self.clock(), data)
        ops = (told.op_for(workspace, endpoint.id),)
        self.store.commit(Change(rediskeys.event(told.id), 0, told.id, ops, subject=told.id))
        return told.id
