"""The base class of tests with an empty scene and a folder of their own."""

import tempfile
import unittest
from pathlib import Path

import slicer


class SceneCase(unittest.TestCase):
    """Starts with an empty scene; ``folder`` goes with the test."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
