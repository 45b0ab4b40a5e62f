"""A real server on loopback, and what its clients ask."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker_process import LIMIT_S, hear, say

from clsdm.app import access

KEY = "a-key-of-the-tests-0123"
LONG_S = 10 * LIMIT_S
SLOW = {"product": "ensemble", "samples": 1000, "device": "cpu"}


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server on a free port of this computer, with its address."""
    start = "import sys; from clsdm.app.worker import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "--listen", "localhost:0", *options]
    folder.mkdir(exist_ok=True)
    temporary = folder
    if os.name == "posix":  # as on macOS, where the way to temporary files leads over a link
        temporary = folder.with_name("link")
        temporary.symlink_to(folder)
    environment = {**os.environ, access.KEY_VARIABLE: KEY, "TMPDIR": str(temporary), "TEMP": str(temporary)}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment) as child,
    ):
        try:
            yield child, hear(child)["address"]
        finally:
            child.terminate()
            child.wait(LIMIT_S)
    assert [each.name for each in folder.iterdir()] == ["log"]


def answered(child: subprocess.Popen[bytes], number: int = 1, **request: Any) -> tuple[dict[str, Any], list[str]]:
    """The last answer to a request, and the stages before it."""
    say(child, id=number, **request)
    stages: list[str] = []
    while "stage" in (answer := hear(child)):
        stages.append(answer["stage"])
    assert answer.pop("id") == number
    return answer, stages


def views(films: Path) -> list[dict[str, Any]]:
    return [{"file": str(films / f"{name}.dcm")} for name in ("frontal", "lateral")]
