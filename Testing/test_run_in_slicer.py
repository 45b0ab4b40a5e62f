"""What ``RunInSlicer`` counts."""

from __future__ import annotations

import io
import unittest

import RunInSlicer

_CLASSES = """
import unittest
class Skipped(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("no torch")
    def test_a(self): pass
    def test_b(self): pass
    def test_c(self): pass
class Mixed(unittest.TestCase):
    def test_passes(self): pass
    def test_fails_twice(self):
        for number in range(2):
            with self.subTest(number=number): self.fail()
    def test_skips_twice(self):
        for number in range(2):
            with self.subTest(number=number): self.skipTest("why")
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail()
"""


class CountTest(unittest.TestCase):
    def test_what_passed_failed_and_was_skipped_adds_up_to_the_tests(self) -> None:
        space = {"__name__": "counted"}
        exec(_CLASSES, space)
        load = unittest.defaultTestLoader.loadTestsFromTestCase
        suite = unittest.TestSuite([load(space["Skipped"]), load(space["Mixed"])])
        words = io.StringIO()
        self.assertEqual(RunInSlicer.runSuite(suite, words), (2, 1))
        self.assertIn("7 tests: 2 passed, 1 failed, 4 skipped", words.getvalue())
