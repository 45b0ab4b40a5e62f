"""Progress of long work: bars in a terminal (with rich, where installed), else a line now and then; JSON lines for a program.

Work reports ``(stage, done, total)``; a reporter may raise ``Cancelled``.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO

Report = Callable[[str, int, int], None]
"""(stage, steps done, steps in all)."""
Clock = Callable[[], float]
"""Seconds since any moment."""

EVERY_SECONDS = 60.0
"""Between two lines that say how far long work is, where there is no terminal for a bar."""


def silent(stage: str, done: int, total: int) -> None:
    """No progress wanted."""


def json_lines(stream: IO[str]) -> Report:
    """Lines such as ``{"stage": "sample", "i": 3, "n": 6}``, flushed one by one."""

    def report(stage: str, done: int, total: int) -> None:
        stream.write(json.dumps({"stage": stage, "i": done, "n": total}) + "\n")
        stream.flush()

    return report


class NowAndThen:
    """Says when ``EVERY_SECONDS`` have passed since the last time it said so, or since it was made."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock, self._said = clock, clock()

    def due(self) -> bool:
        """Whether it is time for a line."""
        now = self._clock()
        if now - self._said < EVERY_SECONDS:
            return False
        self._said = now
        return True


def lines(clock: Clock = time.monotonic) -> Report:
    """Lines on standard error such as ``sample 3 of 6``, one in ``EVERY_SECONDS`` at most."""
    pace = NowAndThen(clock)

    def report(stage: str, done: int, total: int) -> None:
        if pace.due():
            say(f"{stage} {done} of {total}")

    return report


def say(line: str) -> None:
    """A line on standard error. One that cannot be written (closed, a full disk, a reader that is gone) ends no work.

    It goes past the stream's buffer, where it would stay and fail again at the program's end.
    """
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
        try:
            number = sys.stderr.fileno()
        except OSError:  # in memory
            sys.stderr.write(f"{line}\n")
        else:
            os.write(number, f"{line}\n".encode(errors="replace"))


def on_terminal() -> bool:
    """Whether standard error is a terminal; it is None where it is closed."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def terminal(*, enabled: bool = True) -> Iterator[Report]:
    """On standard error: bars where it is a terminal and rich is installed, else ``lines``; nothing unless ``enabled``."""
    if not enabled:
        yield silent
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        bars_wanted = False
    else:
        bars_wanted = on_terminal()
    if not bars_wanted:
        yield lines()
        return

    with Progress(console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield report
