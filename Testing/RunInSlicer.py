"""Runs the module's tests inside a real Slicer, without any stand-in and without pytest.

    Slicer --no-splash --additional-module-paths CLSDMReconstruction --python-script Testing/RunInSlicer.py

Prints `N tests: P passed, F failed, S skipped`, which add up, and the reason of each skip, and exits with 1 when a test
failed or none ran. Names after the script, such as `test_panel_widget`, choose files. CLSDM_PYTHON names the Python with
torch for the worker; without it, Slicer's own is taken, and tests that need torch are skipped where it has none.
"""

import ctypes
import sys
import traceback
import unittest
from pathlib import Path

TESTING = Path(__file__).resolve().parent
MODULE = TESTING.parent / "CLSDMReconstruction"


class Result(unittest.TextTestResult):
    """Counts each test once, and says which one is running, so that one that hangs can be named.

    A test of several subtests can fail or be skipped more than once, and still is one test; a class that is skipped as a
    whole is all its tests.
    """

    passed = 0

    @property
    def failed(self) -> int:
        """Tests, and classes or files that could not be set up."""
        tests = [getattr(test, "test_case", test) for test, _ in (*self.failures, *self.errors)]
        return len({id(test) for test in (*tests, *self.unexpectedSuccesses)})

    def startTest(self, test) -> None:
        self.stream.writeln(f"... {test.id()}")
        self.stream.flush()
        flushSlicer()
        super().startTest(test)

    def addSuccess(self, test) -> None:
        self.passed += 1
        super().addSuccess(test)

    def addExpectedFailure(self, test, err) -> None:
        self.passed += 1
        super().addExpectedFailure(test, err)


def runTests(names: list[str] | None = None, stream=None) -> tuple[int, int]:
    """Run the tests of the files ``names``, or of all.

    Returns:
        How many passed and how many failed.
    """
    for folder in (TESTING, MODULE, TESTING.parent / "trainer" / "src"):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    suite, failed = unittest.TestSuite(), 0
    for path in sorted(TESTING.glob("test_*.py")):
        if names and path.stem not in names:
            continue
        try:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromName(path.stem))
        except Exception:  # noqa: BLE001 - a file that cannot be imported is a failure among others
            failed += 1
            say(f"{path.name} cannot be imported:\n{traceback.format_exc()}", stream)
    passed, broken = runSuite(suite, stream)
    return passed, failed + broken


def runSuite(suite: unittest.TestSuite, stream=None) -> tuple[int, int]:
    """Run tests and say how many passed, failed and were skipped; returns the first two."""
    runner = unittest.TextTestRunner(stream=stream or sys.stdout, resultclass=Result, verbosity=0)
    result = runner.run(suite)
    for test, reason in result.skipped:
        say(f"skipped {test.id()}: {reason}", stream)
    count = max(suite.countTestCases(), result.passed + result.failed)
    skipped = count - result.passed - result.failed
    say(f"{count} tests: {result.passed} passed, {result.failed} failed, {skipped} skipped", stream)
    return result.passed, result.failed


def say(text: str, stream=None) -> None:
    """Print at once."""
    (stream or sys.stdout).write(f"{text}\n")
    (stream or sys.stdout).flush()
    flushSlicer()


def flushSlicer() -> None:
    """Slicer's sys.stdout.flush() does nothing: into a pipe, what was printed would be lost when Slicer hangs or crashes."""
    if sys.platform != "win32":
        ctypes.CDLL(None).fflush(None)


def main() -> None:
    """Run, and end Slicer with the exit status."""
    import slicer

    status = 1
    try:
        names = [Path(name).stem for name in sys.argv[1:] if Path(name).stem.startswith("test_")]
        passed, failed = runTests(names)
        status = 0 if passed and not failed else 1
    except Exception:  # noqa: BLE001 - whatever it is, Slicer must not stay open
        traceback.print_exc()
    slicer.util.exit(status)


if __name__ == "__main__":
    main()
