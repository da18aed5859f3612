"""What the demo shows in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from service.cli.story import STAGES, WHOLE, Ledger
from service.cli.subscriber import Subscriber


class Board:
    """Lines as they come, over one bar through the stages. Where nobody watches, only the lines."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._reached = 0
        self._progress = Progress(
            SpinnerColumn("line"),
            TextColumn("{task.description:<14}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=len(STAGES))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, sentence: str) -> None:
        """A line above the bar."""
        self.console.print(escape(sentence), soft_wrap=True)

    def begin(self, photograph: str, duration: str) -> None:
        """What is about to happen, and what it is not."""
        self.console.print(f"[bold]Hookreel demo[/]: {escape(photograph)}, {duration} s", soft_wrap=True)
        self.say("The vendor is a sandbox on this machine: no AI, and nothing costs money.\n")

    def ready(self, seconds: float, url: str) -> None:
        """Everything runs."""
        self._line("ready", seconds, f"all of `hookreel up`, for a while, at {url}")
        self._progress.update(self._task, description=STAGES[0])

    def reach(self, stage: str, seconds: float, remark: str) -> None:
        """A stage is over; stages that never came are passed over."""
        self._line(stage, seconds, remark)
        self._reached = STAGES.index(stage, self._reached) + 1
        following = (*STAGES, "saving")[self._reached]
        self._progress.update(self._task, completed=self._reached, description=following)

    def _line(self, stage: str, seconds: float, remark: str) -> None:
        self.console.print(
            f"[green]{stage:<12}[/] [cyan]{seconds:7.2f} s[/]  [dim]{escape(remark)}[/]", soft_wrap=True
        )

    def fail(self, sentence: str) -> None:
        """The last word of a demo that was not what it should be."""
        self.console.print(f"\n[bold red]Not whole[/]: {escape(sentence)}", soft_wrap=True)

    def results(self, subscribers: Sequence[Subscriber], ledger: Ledger | None) -> None:
        """What came out of it."""
        self._events(subscribers)
        if ledger is not None:
            self._ledger(ledger)

    def _events(self, subscribers: Sequence[Subscriber]) -> None:
        """What the subscribers verified; its body once, where they got the same."""
        self.console.print("\n[bold]The event[/], as verified with the standardwebhooks library:")
        for each in subscribers:
            for received in each.events:
                event = received.event or {}
                told = f"{event['type']}  {event['id']}  {len(received.body)} bytes"
                self.console.print(f"  {each.name}  {told}", soft_wrap=True)
        bodies = {received.body for each in subscribers for received in each.events}
        for body in sorted(bodies):
            self.console.print_json(body.decode(), indent=2)

    def _ledger(self, ledger: Ledger) -> None:
        """The counts, each beside what it has to be."""
        table = Table(title="Ledger", title_justify="left", title_style="bold", box=None, padding=(0, 2))
        table.add_column(justify="left")
        table.add_column("counted", justify="right")
        table.add_column("expected", justify="right", style="dim")
        for name, field in (
            ("upstream POSTs", "posts"),
            ("upstream result GETs", "result_gets"),
            ("callbacks", "callbacks"),
        ):
            table.add_row(name, _judged(getattr(ledger, field), WHOLE[field]), str(WHOLE[field]))
        verified = _judged(ledger.verified, ledger.expected)
        table.add_row(
            "deliveries verified",
            f"{verified} of {ledger.expected}",
            f"{ledger.expected} of {ledger.expected}",
        )
        self.console.print()
        self.console.print(table)

    def film(self, path: Path, about: str) -> None:
        """Where the video is; on a line of its own, so that it can be copied."""
        self.console.print(f"\n[bold]The video[/]: {escape(str(path))}\n  [dim]{about}[/]", soft_wrap=True)


def _judged(counted: int, wanted: int) -> str:
    return f"[{'green' if counted == wanted else 'bold red'}]{counted}[/]"
