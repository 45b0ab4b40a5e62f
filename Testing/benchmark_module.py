"""The issue's bars, measured on the panel with the real worker and the embedded model.

    .venv/bin/python Testing/benchmark_module.py [--repeat N]                       (emulated Slicer)
    Slicer --no-splash --additional-module-paths CLSDMReconstruction --python-script Testing/benchmark_module.py

Prints one line per bar with what was measured and PASS or FAIL, and exits with 1 when one fails. What blocks the event
loop is measured by a timer that should fire every 5 ms: the longest time between two of its beats, less those 5 ms. Each step
is done several times, and the median of its longest stops counts: a busy machine stops everybody now and then.

The sample CT is the public one where the sample menu has put it into the cache, else noise of the same size. The DICOM
database is a played one of 600 studies, which takes a millisecond for each question, as SQLite does on a slow disk.
"""

from __future__ import annotations

import contextlib
import gzip
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CLSDMReconstruction")]
IN_SLICER = "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app")
if not IN_SLICER:
    import stand_ins

    stand_ins.install(TESTING.parent / "CLSDMReconstruction" / "CLSDMReconstruction.py")

import numpy as np  # noqa: E402
import qt  # noqa: E402
import slicer  # noqa: E402

BEAT_MS = 5
LIMIT_S = 300.0


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


class Bars:
    """What was measured against what was promised."""

    def __init__(self) -> None:
        self.failed = 0

    def check(self, name: str, value: float, most: float, unit: str) -> None:
        good = value <= most
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'}  {name}: {value:.3g} {unit} (at most {most:g} {unit})", flush=True)  # noqa: T201


def wait(condition) -> None:
    end = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        slicer.app.processEvents()
        time.sleep(0.001)


def openPanel(bars: Bars):
    """From the click on the module's name to the panel."""
    torch = "torch" in sys.modules
    start = time.perf_counter()
    slicer.util.selectModule("CLSDMReconstruction")
    slicer.app.processEvents()
    bars.check("opening the panel", time.perf_counter() - start, 1.0, "s")
    bars.check("torch imported by it", float("torch" in sys.modules and not torch), 0.0, "times")
    return slicer.util.getModuleWidget("CLSDMReconstruction").panel


def reconstruct(panel) -> tuple[float, float, float]:
    """One click: seconds to the first progress, to the end, and of it the core's own."""
    first: list[float] = []
    shown = panel.runSection.progress

    def progress(run) -> None:
        first.append(time.perf_counter())
        shown(run)

    panel.runSection.progress = progress
    start = time.perf_counter()
    panel.ui.reconstructButton.click()
    wait(lambda: panel.run is None)
    total = time.perf_counter() - start
    panel.runSection.progress = shown
    if panel.result.result is None:
        raise RuntimeError(panel.ui.errorLabel.text)
    return first[0] - start, total, panel.result.result.seconds["core"]


def main() -> int:
    """Measure; returns the exit status."""
    repeat = int(sys.argv[sys.argv.index("--repeat") + 1]) if "--repeat" in sys.argv else 5
    bars, heart = Bars(), Heart()
    slicer.util.mainWindow().show()
    panel = openPanel(bars)
    makeSample(panel)
    reconstruct(panel)  # the first one loads the model
    runs = [reconstruct(panel) for _ in range(repeat)]
    bars.check("click to first progress, warm", max(run[0] for run in runs), 1.0, "s")
    bars.check("a warm mean over the core's own time", statistics.median(run[1] - run[2] for run in runs), 0.3, "s")
    with sampleCase(), playedDatabase():
        measure(bars, heart, {**work(panel), **longWork(panel)}, repeat)
    panel.cleanup()
    return 1 if bars.failed else 0


def measure(bars: Bars, heart: Heart, steps: dict, repeat: int) -> None:
    """The longest stop of the event loop in each of these."""
    for name, step in steps.items():
        stops = [stopOf(heart, step) for _ in range(repeat)]
        print(f"      stops of the event loop, {name}: {', '.join(f'{stop:.0f}' for stop in stops)} ms", flush=True)  # noqa: T201
        bars.check(f"longest stop of the event loop, {name}", statistics.median(stops), 100.0, "ms")


def makeSample(panel) -> None:
    """Phantom, X-rays, previews."""
    panel.samples.loadPhantom()
    wait(lambda: panel.run is None and all(slot.hasPreview() for slot in panel.xrays.slots))


def stopOf(heart: Heart, step) -> float:
    """The longest stop while a user does something, and shortly after."""
    heart.start()
    step()
    until = time.monotonic() + 0.3
    wait(lambda: time.monotonic() > until)
    return heart.stop()


def work(panel) -> dict:
    """What a user does."""
    ui = panel.ui

    def cancel() -> None:
        ui.reconstructButton.click()
        slicer.app.processEvents()
        ui.reconstructButton.click()

    return {
        "a reconstruction": lambda: reconstruct(panel),
        "the sample and its previews": lambda: makeSample(panel),
        "swap": ui.swapButton.click,
        "another product": lambda: ui.productSelector.setCurrentIndex(1 - ui.productSelector.currentIndex % 2),
        "X-rays in 3-D": ui.exposuresCheckBox.click,
        "one more view": ui.addViewButton.click,
        "cancel": cancel,
    }


def longWork(panel) -> dict:
    """What takes long by its nature."""
    slot = panel.xrays.slots[0]

    def case() -> None:
        panel.samples.loadPublicCase()
        wait(lambda: not panel.samples.isLoading)
        wait(lambda: panel.ui.stageLabel.text.startswith("The slots hold"))

    def menu() -> None:
        slot._fillSeriesMenu()
        wait(lambda: len(slot._seriesMenu.actions()) > 1)

    def pair() -> None:
        panel.xrays.pairFromDatabase()
        wait(lambda: not panel.xrays.isLooking)

    return {"the sample CT of 35 million voxels": case, "the menu of DICOM series": menu, "a pair from DICOM": pair}


@contextlib.contextmanager
def sampleCase() -> Iterator[None]:
    """The CT is in the cache, or something of its size is in its place."""
    from CLSDMReconstructionLib import SampleCase

    there = SampleCase.cachedCase
    with tempfile.TemporaryDirectory() as folder:
        if not there().exists():
            path = Path(folder) / SampleCase.FILE
            writeNoise(path)
            SampleCase.cachedCase = lambda: path
        yield
        SampleCase.cachedCase = there


def writeNoise(path: Path) -> None:
    """NIfTI of 512 x 512 x 133 voxels: a noisy cylinder in air."""
    header = bytearray(352)
    struct.pack_into("<4h", header, 40, 3, 512, 512, 133)
    struct.pack_into("<h", header, 70, 4)
    struct.pack_into("<3f", header, 108, 352.0, 1.0, -1024.0)
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, -0.7, 0, 0, 180, 0, 0.7, 0, -180, 0, 0, 2.5, -166)
    header[344:348] = b"n+1\0"
    rows, columns = np.mgrid[-256:256, -256:256]
    slices = np.where(rows**2 + columns**2 < 200**2, 1064, 24) + np.random.default_rng(0).integers(-20, 20, (512, 512))
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(bytes(header))
        for number in range(133):
            file.write((slices + number % 8).astype("<i2").tobytes())


class Database:
    """ctkDICOMDatabase as far as it is asked."""

    isOpen = True

    def __getattr__(self, name: str):
        answers = {
            "patients": lambda: [f"{number}" for number in range(100)],
            "studiesForPatient": lambda patient: [f"{patient}.{number}" for number in range(6)],
            "seriesForStudy": lambda study: [f"{study}.{number}" for number in range(3)],
            "filesForSeries": lambda series: [f"{series}.dcm"],
            "fieldForStudy": lambda field, study: "2024-01-01",
            "fieldForSeries": lambda field, series: "DX" if series.endswith("0.0") else "CT",
            "fileValue": lambda path, tag: "PA",
        }

        def slowly(*arguments):
            time.sleep(0.001)
            return answers[name](*arguments)

        return slowly


@contextlib.contextmanager
def playedDatabase() -> Iterator[None]:
    """In the place of Slicer's own."""
    own = getattr(slicer, "dicomDatabase", None)
    slicer.dicomDatabase = Database()
    yield
    slicer.dicomDatabase = own


if __name__ == "__main__":
    status = main()
    if IN_SLICER:
        slicer.util.exit(status)
    else:
        sys.exit(status)
