"""Progress of long work: bars in a terminal (with rich, where installed), JSON lines for a program, or nothing.

Work reports ``(stage, done, total)``; a reporter may raise ``Cancelled``.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

Report = Callable[[str, int, int], None]
"""(stage, steps done, steps in all)."""


def silent(stage: str, done: int, total: int) -> None:
    """No progress wanted."""


def json_lines(stream: IO[str]) -> Report:
    """Lines such as ``{"stage": "sample", "i": 3, "n": 6}``, flushed one by one."""

    def report(stage: str, done: int, total: int) -> None:
        stream.write(json.dumps({"stage": stage, "i": done, "n": total}) + "\n")
        stream.flush()

    return report


@contextmanager
def terminal(*, enabled: bool = True) -> Iterator[Report]:
    """Bars on standard error where it is a terminal and rich is installed; otherwise nothing."""
    try:
        from rich.progress import Progress
    except ImportError:
        enabled = False
    if not (enabled and sys.stderr.isatty()):
        yield silent
        return
    from rich.console import Console

    with Progress(console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, int] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield report
