"""What ``RunInSlicer`` counts, and that scripts that are asked for help do nothing else."""

import io
import shutil
import subprocess
import unittest
from pathlib import Path

import RunInSlicer
from real_worker import findPython

TESTING = Path(RunInSlicer.__file__).parent

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


class HelpTest(unittest.TestCase):
    def helped(self, *command: str) -> str:
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    @unittest.skipUnless(shutil.which("sh"), "no shell")
    def test_the_shell_scripts_help_and_do_nothing_else(self) -> None:
        for name, words in (("run.sh", "Every check"), ("lint.sh", "The linters")):
            said = self.helped("sh", str(TESTING / name))
            self.assertTrue(said.startswith(words), said)
            self.assertLess(len(said.splitlines()), 5, "nothing was begun")

    def test_the_benchmark_helps_and_measures_nothing(self) -> None:
        said = self.helped(findPython(), str(TESTING / "benchmark_module.py"))
        self.assertIn("--repeat N", said)
        self.assertNotIn("PASS  ", said)
