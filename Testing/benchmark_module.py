"""The issue's bars, measured on the panel with the real worker and the embedded model.

    .venv/bin/python Testing/benchmark_module.py [--repeat N]                       (emulated Slicer)
    Slicer --no-splash --additional-module-paths CLSDMReconstruction --python-script Testing/benchmark_module.py

Prints one line per bar with what was measured and PASS or FAIL, and exits with 1 when one fails.

Two things are measured of every step. The **longest slot** is the longest call into the module's code, from a signal, a timer
or a click, all that Slicer does meanwhile included; this is the bar. The **longest stop** of the event loop is the longest
time between two beats of a timer that should fire every 5 ms, less those 5 ms: it holds whatever else was done in the same
turn, such as Slicer's own drawing, which without a GPU is most of it. Each step is done several times. The first counts for
itself, since it is what a user meets; of the others the median counts, since a busy machine stops everybody now and then.
Beside each longest slot stands how much of it this thread computed: the rest it waited, for a core or for others, or
for the disk: how many pages of memory the process had to read from there meanwhile stands beside it too (not on Windows). A
machine that pages out what lies idle, as virtual ones do, makes first uses wait for that, and not for the module. Of such
machines many are slow to give memory to who touches it for the first time, which Slicer does all day; so how long 64 MB took
stands beside each step, about 20 ms on a computer that is not shared.

The sample CT is the public one where the sample menu has put it into the cache, else noise of the same size. The DICOM
database is a fake one of 600 studies, which takes a millisecond for each question, as SQLite does on a slow disk.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PARSER = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
PARSER.add_argument("--repeat", type=int, default=5, metavar="N", help="times after the first (default: 5)")
REPEAT = PARSER.parse_known_args()[0].repeat  # --help ends here, before anything is set up

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CLSDMReconstruction")]
IN_SLICER = "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app")
if not IN_SLICER:
    import stand_ins

    stand_ins.install(TESTING.parent / "CLSDMReconstruction" / "CLSDMReconstruction.py")

import benchmark_steps as user  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402
from benchmark_case import agreeing, largeDatabase, sampleCase  # noqa: E402

BEAT_MS = 5
MODULE = str(TESTING.parent / "CLSDMReconstruction")


class Heart:
    """Beats as long as the event loop turns; ``longest`` is the longest stop in milliseconds."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, None
        self._timer = qt.QTimer()
        self._timer.interval = BEAT_MS
        self._timer.connect("timeout()", self._beat)

    def start(self) -> None:
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer.start()

    def stop(self) -> float:
        self._timer.stop()
        return self.longest

    def _beat(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, 1000 * (now - self._last) - BEAT_MS)
        self._last = now


class Slots:
    """Hears of every call on this thread; ``longest`` is the longest one into the module's code, in milliseconds."""

    def __init__(self) -> None:
        self.longest, self.computing, self.pages, self.name = 0.0, 0.0, 0, ""
        self._outermost, self._since = None, (0.0, 0.0, 0)

    def start(self) -> None:
        self.longest, self.computing, self.pages, self.name, self._outermost = 0.0, 0.0, 0, "", None
        sys.settrace(self._called)

    def stop(self) -> float:
        sys.settrace(None)
        return self.longest

    def _called(self, frame, _event: str, _argument: object):
        if self._outermost is not None or not frame.f_code.co_filename.startswith(MODULE):
            return None  # nothing more is heard of this frame
        self._outermost, self._since = frame, (time.perf_counter(), time.thread_time(), pagesFromDisk())
        frame.f_trace_lines = False
        return self._heard

    def _heard(self, frame, event: str, _argument: object):
        if event == "return":
            took, self._outermost = 1000 * (time.perf_counter() - self._since[0]), None
            if took > self.longest:
                self.longest, self.computing = took, 1000 * (time.thread_time() - self._since[1])
                self.pages = pagesFromDisk() - self._since[2]
                self.name = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}"
        return self._heard


def pagesFromDisk() -> int:
    """How many pages of memory this process has waited for until now; 0 where the system does not tell."""
    with contextlib.suppress(ImportError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    return 0


def touching(megabytes: int = 64) -> float:
    """Milliseconds until the machine has given this much memory, a page after another."""
    start = time.perf_counter()
    memory = bytearray(megabytes << 20)
    memory[::4096] = bytes(len(memory[::4096]))
    return 1000 * (time.perf_counter() - start)


class Bars:
    """Measured values against their bars."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, name: str, value: float, most: float, unit: str) -> None:
        good = value <= most
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'}  {name}: {value:.3g} {unit} (at most {most:g} {unit})", flush=True)  # noqa: T201


def openPanel(bars: Bars):
    """From the click on the module's name to the panel."""
    torch = "torch" in sys.modules
    start = time.perf_counter()
    slicer.util.selectModule("CLSDMReconstruction")
    slicer.app.processEvents()
    bars.check("opening the panel", time.perf_counter() - start, 1.0, "s")
    bars.check("torch imported by it", float("torch" in sys.modules and not torch), 0.0, "times")
    return slicer.util.getModuleWidget("CLSDMReconstruction").panel


def main() -> int:
    """Measure; returns the exit status."""
    repeat = REPEAT
    bars = Bars()
    slicer.util.mainWindow().show()
    if not IN_SLICER:
        slicer.app.layoutManager().renderAll()  # Slicer's views have drawn before a user finds the module
    panel = openPanel(bars)
    with sampleCase(), largeDatabase(), agreeing(), tempfile.TemporaryDirectory() as name:
        folder, models = Path(name), panel.logic.models.folder
        panel.logic.models.folder = folder / "models"
        measure(bars, user.ofXRays(panel), repeat)
        measureReconstruction(bars, panel, repeat)
        measure(bars, user.ofLongWork(panel), repeat)
        user.ofLongWork(panel)["the sample CT of 35 million voxels"]()
        user.reconstruct(panel)
        measure(bars, user.ofComparison(panel, folder), repeat)
        measure(bars, user.ofExport(panel, folder), repeat)
        panel.logic.models.folder = models
    panel.cleanup()
    return 1 if bars.failed else 0


def measureReconstruction(bars: Bars, panel, repeat: int) -> None:
    """The time that the panel adds to the core's own, once the worker is warm: the one that was cancelled is not."""
    user.reconstruct(panel)
    runs = [user.reconstruct(panel) for _ in range(repeat)]
    bars.check("click to first progress, warm", max(run[0] for run in runs), 1.0, "s")
    bars.check("a warm mean over the core's own time", statistics.median(run[1] - run[2] for run in runs), 0.3, "s")


def measure(bars: Bars, steps: dict[str, user.Step], repeat: int) -> None:
    """The longest slot and the longest stop in each of these, the first time and later."""
    for name, step in steps.items():
        first, *later = [stopsOf(step) for _ in range(1 + repeat)]
        middle = sorted(later, key=lambda each: each.slot)[(len(later) - 1) // 2]
        stops = ", ".join(f"{each.stop:.0f}" for each in (first, *later))
        memory = f"64 MB of memory took {touching():.0f} ms"
        print(f"      longest stops of the event loop, {name}: {stops} ms; {memory}", flush=True)  # noqa: T201
        for when, each in (("first", first), ("later", middle)):
            which = f"{when} ({each.name}, computing {each.computing:.0f} ms, {each.pages} pages from disk)"
            bars.check(f"longest slot, {name}, {which}", each.slot, 100.0, "ms")


class Stops(NamedTuple):
    """Milliseconds of the longest slot, what of them was computing, and of the longest stop.

    ``pages`` were read from the disk during that slot; ``name`` is its function.
    """

    slot: float
    computing: float
    pages: int
    stop: float
    name: str


def stopsOf(step: user.Step) -> Stops:
    """What there was while a user did something, and shortly after."""
    heart, slots = Heart(), Slots()
    heart.start()
    slots.start()
    step()
    user.settle(0.3)
    return Stops(slots.stop(), slots.computing, slots.pages, heart.stop(), slots.name)


if __name__ == "__main__":
    status = main()
    if IN_SLICER:
        slicer.util.exit(status)
    else:
        sys.exit(status)
