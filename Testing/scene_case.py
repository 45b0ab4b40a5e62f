"""What many tests need: patience, a folder of their own, an empty scene."""

import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path

import slicer

LIMIT_S = 300.0


def waitFor(condition: Callable[[], object], seconds: float = LIMIT_S) -> None:
    """Let the event loop turn until something is so; fails after a time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not so after {seconds:g} s")
        slicer.app.processEvents()
        time.sleep(0.001)


def temporaryFolder(case: unittest.TestCase, prefix: str | None = None) -> Path:
    """A folder that goes with the test."""
    temporary = tempfile.TemporaryDirectory(prefix=prefix)
    case.addCleanup(temporary.cleanup)
    return Path(temporary.name)


class SceneCase(unittest.TestCase):
    """Starts with an empty scene; ``folder`` goes with the test."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        self.folder = temporaryFolder(self)
