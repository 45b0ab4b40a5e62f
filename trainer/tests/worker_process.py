"""A real worker in a process of its own, and how to talk with it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LIMIT_S = 60.0


@contextmanager
def process(
    folder: Path, before: str = "", idle: float = LIMIT_S, more: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker; ``before`` is Python that runs in it first and may add to ``TASKS``, ``more`` are further options."""
    code = f"import sys, time\nfrom clsdm.app import worker\nfrom clsdm.app.tasks import TASKS\n{before}\n"
    folder.mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-c",
        code + "sys.exit(worker.main())",
        "--folder",
        str(folder),
        "--idle",
        str(idle),
        *more,
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def say(child: subprocess.Popen[bytes], line: bytes | None = None, **request: Any) -> None:
    """Send a line, or a request."""
    assert child.stdin is not None
    child.stdin.write((json.dumps(request).encode() if line is None else line) + b"\n")
    child.stdin.flush()


def hear(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Its next answer."""
    assert child.stdout is not None
    return json.loads(child.stdout.readline())


@contextmanager
def greeted(folder: Path, before: str = "") -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A worker that has said where its folder is."""
    with process(folder, before) as child:
        yield child, Path(hear(child)["folder"])
