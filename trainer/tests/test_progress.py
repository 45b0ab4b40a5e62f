"""Progress for programs, for terminals, and for nobody."""

import io
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from clsdm.progress import EVERY_SECONDS, json_lines, lines, silent, terminal


class Flushed(io.StringIO):
    """Remembers what a reader at the other end has seen."""

    seen = ""

    def flush(self) -> None:
        self.seen = self.getvalue()


def test_each_report_is_one_json_line_that_is_sent_at_once():
    stream = Flushed()
    report = json_lines(stream)
    report("sample", 3, 6)
    assert json.loads(stream.seen) == {"stage": "sample", "i": 3, "n": 6}
    report('a "stage"\nof two lines', 4, 6)
    assert stream.seen.count("\n") == 2
    assert [json.loads(line)["i"] for line in stream.seen.splitlines()] == [3, 4]


def test_without_a_terminal_there_is_no_bar_and_short_work_says_nothing(capfd):
    with terminal() as report:
        report("sample", 1, 2)
    assert capfd.readouterr() == ("", "")
    with terminal(enabled=False) as report:
        assert report is silent


def test_without_a_terminal_long_work_says_now_and_then_how_far_it_is(monkeypatch, capfd):
    seconds = iter((0.0, 20.0, 61.0, 62.0, 120.0, 121.0))
    report = lines(lambda: next(seconds))
    for done in range(1, 6):
        report("evaluate", done, 9)
    assert capfd.readouterr().err == "evaluate 2 of 9\nevaluate 5 of 9\n"
    assert EVERY_SECONDS == 60.0
    monkeypatch.setattr("clsdm.progress.EVERY_SECONDS", 0.0)
    with terminal() as report:
        report("sample", 1, 2)
    assert capfd.readouterr().err == "sample 1 of 2\n"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    report("sample", 2, 2)
    assert sys.stderr.getvalue() == "sample 2 of 2\n", "of a program that keeps it in memory"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("error", ["2>/dev/full", "2>&-", "2> >(exec true)"])
@pytest.mark.parametrize(
    "loop",
    [
        "with p.terminal() as report: [report('sample', i, 3) for i in (1, 2, 3)]",
        "with p.terminal(enabled=False) as report: report('sample', 1, 3)",
        "import tempfile, pathlib, clsdm_trainer.reporting as r\n"
        "with tempfile.TemporaryDirectory() as t, r.training_report(pathlib.Path(t), as_json=False) as sink:\n"
        "    [sink({'stage': 'a', 'step': i, 'steps': 3, **more}) for i in (1, 2, 3) for more in ({}, {'psnr_db': 1.0})]",
    ],
)
def test_a_standard_error_that_takes_nothing_ends_no_work(error, loop):
    work = f"import time, clsdm.progress as p; p.EVERY_SECONDS = 0.0; time.sleep(0.2)\n{loop}\nprint('done')"
    ended = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {error}', sys.executable, work], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr


def read_to_end(master: int) -> str:
    """All that was written to a pseudo-terminal whose other end is closed; its end is an error on Linux."""
    pieces = []
    with os.fdopen(master, "rb", buffering=0) as terminal_end, suppress(OSError):
        while piece := terminal_end.read(65536):
            pieces.append(piece)
    return b"".join(pieces).decode("utf-8")


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("enabled", [True, False])
def test_in_a_terminal_there_are_bars_unless_they_are_unwanted(enabled, monkeypatch):
    pytest.importorskip("rich")
    master, slave = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with terminal(enabled=enabled) as report:
            report("decode", 1, 2)
            report("decode", 2, 2)
    shown = read_to_end(master)  # what was written may arrive in several pieces
    assert ("decode" in shown and "100%" in shown) is enabled
