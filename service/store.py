"""The one way to change what is kept: a script, atomic, compare-and-set, recognisable afterwards.

A connection that breaks while a script is under way leaves its outcome unknown, and redis-py would send the
command again by itself. So connections here never retry; every change carries a token chosen before the
write, the script remembers it in the record, and sending the same change again is answered with `again`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import resources
from typing import Any

import hiredis
from redis.exceptions import (
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from service import rediskeys
from service.batching import Batching
from service.connection import LOST, Idle, connect, is_readable
from service.errors import HookreelError, OutcomeUnknown, StoreFull, StoreUnavailable
from service.queue import submit_bell

WAIT_MS = 1000
"""How long replicas are waited for: well below the fence of a submission."""
Word = str | bytes | int | float


class StaleRecord(HookreelError):
    """Somebody else moved the record first, or another ``guard`` (its kind) does not hold."""

    def __init__(self, guard: str) -> None:
        super().__init__("the record has moved")
        self.guard = guard


class ConnectionLost(StoreUnavailable):
    """Whether what was sent was applied is not known."""

    def __init__(self) -> None:
        super().__init__("the connection to the store was lost")


@dataclass(frozen=True)
class Change:
    """One change of one record: its key, the revision it starts from, guards, and what to do.

    ``rev`` 0 means that the record must not exist yet.
    """

    key: str
    rev: int
    token: str
    ops: tuple[tuple[Word, ...], ...]
    guards: tuple[tuple[str, Word, Word], ...] = ()
    subject: str = field(default="")

    def argv(self) -> list[Word]:
        """The arguments of scripts/commit.lua."""
        guards = (("rev", self.rev, ""), *self.guards)
        words: list[Word] = [self.token, len(guards)]
        for guard in guards:
            words.extend(guard)
        for op in self.ops:
            words.append(len(op))
            words.extend(op)
        return words


def _prelude(source: str) -> str:
    """The keys of `rediskeys` that ``source`` names, as a Lua table, so that no script spells a key."""
    lines = ["local K = {}"]
    named = set(re.findall(r"\bK\.(\w+)", source))
    for name, value in vars(rediskeys).items():
        if name not in named:
            continue
        if name.isupper():
            lines.append(f"K.{name} = '{value}'")
        elif inspect.isfunction(value) and len(inspect.signature(value).parameters) == 1:
            lines.append(f"K.{name} = function(x) return '{value('')}' .. x end")
    if "clock()" in source:
        lines.append(_CLOCK)
    if "BELL" in source:
        lines.append(f"local BELL = {{{','.join(_quoted(word) for word in submit_bell())}}}")
    return "\n".join(lines) + "\n"


def _quoted(word: bytes) -> str:
    return "'" + "".join(f"\\{byte:03d}" for byte in word) + "'"


_CLOCK = f"""local function clock()
  local time = redis.call('TIME')
  local shift = redis.call('HGET', '{rediskeys.SERVICE}', 'shift') or 0
  return time[1] * 1000 + math.floor(time[2] / 1000) + shift
end"""


def _source(name: str) -> str:
    return resources.files("service").joinpath("scripts", f"{name}.lua").read_text("utf-8")


_PARTS = (("again", r"\bagain\("), ("pace", r"\b(pace|place|drop)\("))
"""What several scripts share, and by which of its functions it is known who needs it."""


class Script:
    """A Lua script of this package, with the keys in front of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        source = _source(name)
        for part, functions in _PARTS:
            if re.search(functions, source):
                source = _source(part) + source
        self.text = _prelude(source) + re.sub(r"(?m)^\s*--.*\n", "", source)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def command(self, keys: Sequence[str], args: Iterable[Word], *, whole: bool = False) -> tuple[Word, ...]:
        """The words of EVALSHA, or of EVAL when ``whole``."""
        head = ("EVAL", self.text) if whole else ("EVALSHA", self.sha)
        return (*head, len(keys), *keys, *args)


COMMIT = Script("commit")
EXPAND = Script("expand")
CLAIM = Script("claim")
OUTCOMES = Script("outcomes")
CLAIMS_OF = Script("claims_of")
PRUNE = Script("prune")
CANCEL = Script("cancel")
WITHDRAW = Script("withdraw")
REVIVE = Script("revive")
ADVANCE = Script("advance")
REDACT = Script("redact")
FORGET = Script("forget")
MEND_EVENTS = Script("mend_events")
MEND_JOBS = Script("mend_jobs")
MEND_LISTS = Script("mend_lists")
RELIST = Script("relist")
RESTREAM = Script("restream")
RECOUNT = Script("recount")
MISSING = Script("missing")
IN_WINDOW = Script("window")
SHIFT = Script("shift")


class Store:
    """The records. Safe to share between threads.

    Raises `StoreUnavailable` when nothing was written, `StoreFull` when the store refuses to grow, and
    `OutcomeUnknown` when a change cannot be told from one that never happened.
    """

    def __init__(
        self, url: str, *, patience: float = 2.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.client = connect(url)
        self.patience = patience
        self.monotonic = monotonic
        self._commits = Batching(self._commit_all)
        self._fetches = Batching(self._fetch_all)

    def __repr__(self) -> str:
        return "<Store>"

    @cached_property
    def _idle(self) -> Idle:
        return Idle(self.client.connection_pool)

    def commit(self, change: Change) -> list[str]:
        """Apply ``change``; the jobs it let into the window. A lost connection is asked again, never guessed.

        Raises `StaleRecord` when a guard does not hold.
        """
        deadline = self.monotonic() + self.patience
        answer = self._commits(change)
        sent = answer is not None
        while not answer:
            if sent and self.monotonic() >= deadline:
                raise OutcomeUnknown("the store did not say whether this was kept", change.subject)
            try:
                connection = self._connection()
            except StoreUnavailable:
                if sent or self.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                raise
            sent = True
            with contextlib.suppress(*LOST):
                answer = self._ask(connection, COMMIT, [change.key], change.argv())
        return self._applied(answer)

    def _commit_all(self, changes: list[Change]) -> Sequence[list[bytes]]:
        try:
            return self.run_all([(COMMIT, [change.key], change.argv()) for change in changes])
        except ConnectionLost:
            return [[]] * len(changes)

    @staticmethod
    def _applied(answer: list[bytes]) -> list[str]:
        status, *rest = (word.decode() for word in answer)
        if status == "conflict":
            raise StaleRecord(rest[0])
        return rest

    def load(self) -> None:
        """Teach the store every script, so that a batch keeps its order from the first time on."""
        scripts = (COMMIT, EXPAND, CLAIM, OUTCOMES, CLAIMS_OF, PRUNE)
        self.read(lambda pipe: [pipe.script_load(script.text) for script in scripts])

    def run(self, script: Script, args: Iterable[Word] = (), keys: Sequence[str] = ()) -> Any:
        """One script that the caller may safely run again when this raises `StoreUnavailable`."""
        return self.run_all([(script, keys, list(args))])[0]

    def run_all(
        self, calls: Sequence[tuple[Script, Sequence[str], list[Word]]], then: Sequence[tuple[Word, ...]] = ()
    ) -> list[Any]:
        """Several scripts, ``then`` plain commands, in one round trip, so that they share one fsync.

        Each is atomic by itself. A plain command's error is in the list, as the exception that it is.
        """
        return self.send_all(calls, then).answers()

    def send_all(
        self, calls: Sequence[tuple[Script, Sequence[str], list[Word]]], then: Sequence[tuple[Word, ...]] = ()
    ) -> Batch:
        """As `run_all`, but the answers are asked for later. Its connection is the batch's until then."""
        connection = self._connection()
        commands = [*(script.command(keys, args) for script, keys, args in calls), *then]
        try:
            connection.send_packed_command([b"".join(map(_packed, commands))])
        except LOST as error:
            connection.disconnect()
            self._idle.give(connection)
            raise ConnectionLost from error
        return Batch(self, connection, calls, len(commands))

    def fetch(self, *words: Word) -> Any:
        """One read, without what a pipeline costs. The answer as the server gives it."""
        answer = self._fetches(words)
        if answer is not None:
            return _checked(answer)
        for last in (False, True):
            connection = self._connection()
            try:
                _send(connection, words)
                return _checked(self._read(connection))
            except LOST as error:
                connection.disconnect()
                if last:
                    raise StoreUnavailable("the store cannot be reached") from error
            finally:
                self._idle.give(connection)
        raise AssertionError

    def _fetch_all(self, commands: list[tuple[Word, ...]]) -> list[Any]:
        return self.run_all([], commands)

    def read(self, ask: Callable[[Any], object]) -> list[Any]:
        """Several reads in one round trip; asked once more on a fresh connection when the first is lost."""
        for last in (False, True):
            pipe = self.client.pipeline(transaction=False)
            ask(pipe)
            try:
                return list(pipe.execute())
            except LOST as error:
                if last:
                    raise StoreUnavailable("the store cannot be reached") from error
            except RedisError as error:
                raise _translated(error) from error
        raise AssertionError

    def answers_of(self, batch: Batch) -> list[Any]:
        """What `Batch.answers` is."""
        try:
            answers = [self._read(batch.connection) for _ in range(batch.size)]
        except LOST as error:
            batch.connection.disconnect()
            raise ConnectionLost from error
        finally:
            self._idle.give(batch.connection)
        scripted = [
            self._retry_whole(call) if isinstance(answer, NoScriptError) else _checked(answer)
            for call, answer in zip(batch.calls, answers[: len(batch.calls)], strict=True)
        ]
        return scripted + answers[len(batch.calls) :]

    def write(self, ask: Callable[[Any], object]) -> list[Any]:
        """Plain writes in one transaction, for what may be done twice: no move of a record is among them.

        Raises `StoreUnavailable` also when they may have been done.
        """
        pipe = self.client.pipeline(transaction=True)
        ask(pipe)
        try:
            return list(pipe.execute())
        except LOST as error:
            raise StoreUnavailable("the store cannot be reached") from error
        except RedisError as error:
            raise _translated(error) from error

    def is_replicated(self, replicas: int) -> bool:
        """Whether so many replicas have what was written until now. Raises `StoreUnavailable`."""
        # WAIT is about the last write of its own connection, which may not be the one that matters.
        mark = ("HINCRBY", rediskeys.SERVICE, "waits", 1)
        _, reached = self.run_all([], [mark, ("WAIT", replicas, WAIT_MS)])
        return int(_checked(reached)) >= replicas

    def _retry_whole(self, call: tuple[Script, Sequence[str], list[Word]]) -> Any:
        script, keys, args = call
        connection = self._connection()
        try:
            _send(connection, script.command(keys, args, whole=True))
            return _checked(self._read(connection))
        except LOST as error:
            connection.disconnect()
            raise ConnectionLost from error
        finally:
            self._idle.give(connection)

    def _ask(self, connection: Any, script: Script, keys: Sequence[str], args: list[Word]) -> Any:
        try:
            _send(connection, script.command(keys, args))
            answer = self._read(connection)
            if isinstance(answer, NoScriptError):
                _send(connection, script.command(keys, args, whole=True))
                answer = self._read(connection)
        except LOST:
            connection.disconnect()
            raise
        finally:
            self._idle.give(connection)
        return _checked(answer)

    def _connection(self) -> Any:
        try:
            return self._idle.take()
        except LOST as error:
            raise StoreUnavailable("the store cannot be reached") from error
        except RedisError as error:
            raise _translated(error) from error

    @staticmethod
    def _read(connection: Any) -> Any:
        try:
            return connection.read_response()
        except ResponseError as error:
            return error


@dataclass(frozen=True)
class Batch:
    """Scripts and commands on their way to the store; `answers` has to be called once."""

    store: Store
    connection: Any
    calls: Sequence[tuple[Script, Sequence[str], list[Word]]]
    size: int

    def fileno(self) -> int:
        """What can be read when the answers begin to come, or the connection is lost."""
        descriptor: int = self.connection._sock.fileno()  # noqa: SLF001 - redis-py shows it nowhere else
        return descriptor

    @property
    def answered(self) -> bool:
        """Whether the answers have begun to come, or never will."""
        return is_readable(self.connection)

    def give_up(self) -> None:
        """The answers do not come: `answers` will raise `StoreUnavailable` at once."""
        self.connection.disconnect()

    def answers(self) -> list[Any]:
        """Wait for them; as `Store.run_all` returns them. Raises `StoreUnavailable`."""
        return self.store.answers_of(self)


def _send(connection: Any, words: tuple[Word, ...]) -> None:
    """As redis-py's ``send_command``, which also looks at each word before hiredis does."""
    connection.send_packed_command([_packed(words)])


def _packed(words: tuple[Word, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub: one word
    return packed


def _checked(answer: Any) -> Any:
    if isinstance(answer, RedisError):
        raise _translated(answer) from answer
    return answer


_NO_WRITES = ("MISCONF", "LOADING", "NOREPLICAS")


def _translated(error: RedisError) -> Exception:
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM command not allowed" in text:
        return StoreFull("the store is full", retry_after=30)
    if isinstance(error, (BusyLoadingError, ReadOnlyError)) or text.startswith(_NO_WRITES):
        return StoreUnavailable("the store does not take writes just now")
    if isinstance(error, LOST):
        return StoreUnavailable("the store cannot be reached")
    return error
