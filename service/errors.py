"""Every error this service raises on purpose, as one tree.

::

    HookreelError                 status  permanent
    ├── InvalidInput                 400  yes   carries the faults, field by field
    ├── Unauthorized                 401  yes
    ├── Forbidden                    403  yes   the key is good, and not for this
    ├── NotFound                     404  yes
    ├── Conflict                     409  yes   the record is in another state
    ├── Gone                         410  yes   the cursor is older than what is kept
    ├── TooLarge                     413  yes
    ├── WrongMediaType               415  yes
    ├── IdempotencyMismatch          422  yes   the key was used for another request
    ├── SettingsError                  -  yes   all problems of the environment at once
    ├── SignatureInvalid             401  yes   a message that nobody we know has signed
    ├── BlockedAddress               400  yes   an address that we do not call
    └── Unavailable                  503  no    try again; ``retry_after`` says when
        ├── StoreUnavailable         503  no    the store cannot be reached; nothing was written
        ├── StoreFull                503  no    acceptance stops before the store is full
        ├── OutcomeUnknown           503  no    the write may or may not have happened
        └── VendorUnavailable        503  no    the vendor cannot be asked just now

``permanent`` says whether the same call can ever succeed; nothing that is permanent is retried.
"""

from __future__ import annotations

from typing import ClassVar

from schemas.faults import Fault


class HookreelError(Exception):
    """The base. ``status`` is the HTTP status it stands for, ``code`` its stable name on the wire."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    permanent: ClassVar[bool] = True

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(HookreelError):
    """The request is at fault; ``faults`` says where and how."""

    status = 400
    code = "invalid_input"

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = faults


class Unauthorized(HookreelError):
    """No API key, or not one of ours."""

    status = 401
    code = "unauthorized"


class Forbidden(HookreelError):
    """The API key is one of ours and does not allow this."""

    status = 403
    code = "forbidden"


class NotFound(HookreelError):
    """No such record in this workspace."""

    status = 404
    code = "not_found"


class Conflict(HookreelError):
    """The record's state does not allow it; the detail names the state."""

    status = 409
    code = "conflict"


class Gone(HookreelError):
    """A cursor that is older than what is kept; ``oldest`` is the oldest event there is."""

    status = 410
    code = "cursor_expired"

    def __init__(self, detail: str, oldest: str | None) -> None:
        super().__init__(detail)
        self.oldest = oldest


class TooLarge(HookreelError):
    """A body over the limit; refused before it was read whole."""

    status = 413
    code = "too_large"


class WrongMediaType(HookreelError):
    """A body that is not JSON."""

    status = 415
    code = "unsupported_media_type"


class IdempotencyMismatch(HookreelError):
    """The idempotency key belongs to another request."""

    status = 422
    code = "idempotency_mismatch"


class SettingsError(HookreelError):
    """Problems of the environment, every one of them; ``problems`` are sentences that name the variable."""

    code = "settings"

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SignatureInvalid(HookreelError):
    """A signature, timestamp or header that does not verify."""

    status = 401
    code = "signature_invalid"


class BlockedAddress(HookreelError):
    """An address outside the public internet and the networks that the operator allows."""

    status = 400
    code = "blocked_address"


class Unavailable(HookreelError):
    """Not now; the caller may try again in ``retry_after`` seconds."""

    status = 503
    code = "unavailable"
    permanent = False

    def __init__(self, detail: str, retry_after: int = 5) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Unreadable(Unavailable):
    """A record in a form that this release does not know."""


class StoreUnavailable(Unavailable):
    """The store cannot be reached, and nothing was written."""

    code = "store_unavailable"


class StoreFull(Unavailable):
    """The store is too full to accept more; what was accepted is safe."""

    code = "store_full"


class OutcomeUnknown(Unavailable):
    """A write whose outcome stays unknown; ``prediction_id`` is the job that may exist."""

    code = "outcome_unknown"

    def __init__(self, detail: str, prediction_id: str) -> None:
        super().__init__(detail)
        self.prediction_id = prediction_id


class VendorUnavailable(Unavailable):
    """The vendor did not answer a question that needs its answer."""

    code = "vendor_unavailable"
