"""The steps of a user in the panel, each a function that returns when it is done; for ``benchmark_module.py``."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import slicer
from scene_case import waitFor

from CLSDMReconstructionLib.scene import XRayNodes

Step = Callable[[], object]


def settle(seconds: float) -> None:
    """Let the event loop turn for a time."""
    until = time.monotonic() + seconds
    waitFor(lambda: time.monotonic() > until)


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
    waitFor(lambda: panel.run is None)
    total = time.perf_counter() - start
    panel.runSection.progress = shown
    if panel.result.result is None:
        raise RuntimeError(panel.ui.errorLabel.text)
    return first[0] - start, total, panel.result.result.seconds["core"]


def makeSample(panel) -> None:
    """Phantom, X-rays, previews."""
    panel.samples.loadPhantom()
    waitFor(lambda: not panel.samples.isLoading)
    waitFor(lambda: panel.run is None and all(slot.hasPreview() for slot in panel.xrays.slots))


def ofXRays(panel) -> dict[str, Step]:
    """Before and around a reconstruction; the first one begins with an empty panel."""
    ui = panel.ui
    slot = panel.xrays.slots[0]

    def cancel() -> None:
        ui.reconstructButton.click()
        slicer.app.processEvents()
        ui.reconstructButton.click()
        waitFor(lambda: panel.run is None)

    def drop() -> None:
        files = [str(XRayNodes.xrayFile(each.xray.node)) for each in panel.xrays.slots[:2] if each.xray.node]
        slot._drops.onDrop(files)
        waitFor(lambda: not panel.xrays.pair.isLooking and all(each.hasPreview() for each in panel.xrays.slots[:2]))
        makeSample(panel)

    return {
        "the second after the panel has opened": lambda: settle(1.0),
        "the sample and its previews": lambda: makeSample(panel),
        "a reconstruction": lambda: reconstruct(panel),
        "swap": ui.swapButton.click,
        "another product": lambda: ui.productSelector.setCurrentIndex(1 - ui.productSelector.currentIndex % 2),
        "X-rays in 3-D": ui.exposuresCheckBox.click,
        "one more view": ui.addViewButton.click,
        "dropping two files": drop,
        "cancel": cancel,
    }


def ofLongWork(panel) -> dict[str, Step]:
    """Steps that take long by their nature."""
    slot = panel.xrays.slots[0]

    def case() -> None:
        panel.samples.loadPublicCase()
        waitFor(lambda: not panel.samples.isLoading)
        waitFor(lambda: panel.ui.stageLabel.text.startswith("The slots hold"))

    def menu() -> None:
        slot._fillSeriesMenu()
        waitFor(lambda: len(slot._seriesMenu.actions()) > 1)

    def pair() -> None:
        panel.xrays.pair.fromDatabase()
        waitFor(lambda: not panel.xrays.pair.isLooking)

    def simulate() -> None:
        panel.simulate.setTruth(panel.compare.ui.truthSelector.currentNode())
        panel.simulate.ui.simulateButton.click()
        waitFor(lambda: not panel.simulate.isRunning)

    return {
        "the sample CT of 35 million voxels": case,
        "X-rays simulated from it": simulate,
        "the menu of DICOM series": menu,
        "a pair from DICOM": pair,
    }


def ofComparison(panel, folder: Path) -> dict[str, Step]:
    """With the CT that is the ground truth; the first one needs a reconstruction."""
    compare = panel.compare
    ui = compare.ui

    def run() -> None:
        ui.compareButton.click()
        waitFor(lambda: not compare.isRunning and not compare.screen.isOpening and not compare.screen.isDrawing)
        if compare.shown.figures is None or compare.shown.difference is None:
            raise RuntimeError(ui.statusLabel.text)

    def layout() -> None:
        for _ in range(2):
            ui.layoutCheckBox.click()
            waitFor(lambda: not compare.screen.isOpening and not compare.screen.isDrawing)
            settle(0.1)

    def window() -> None:
        ui.windowComboBox.setCurrentIndex(1 + ui.windowComboBox.currentIndex % 3)
        ui.limitSlider.setValue(300 + ui.limitSlider.value % 100 + 1)

    def overlay(mode: int) -> Step:
        def move() -> None:
            ui.overlayComboBox.setCurrentIndex(mode)
            for percent in (30, 50, 70):
                ui.fractionSlider.setValue(percent / 100)
                settle(0.03)
            waitFor(lambda: not compare.isWorking("overlay"))

        return move

    def profile() -> None:
        compare.takeAway.showProfile()
        waitFor(lambda: not compare.isWorking("profile"))

    def png() -> None:
        compare.takeAway.exportPng(str(folder / "planes.png"))
        waitFor(lambda: ui.pngButton.enabled)

    return {
        "a comparison, opened": run,
        "its layout, off and on": layout,
        "its window and limit": window,
        "the fader": overlay(1),
        "the checkerboard": overlay(2),
        "the curtain": overlay(3),
        "a line profile": profile,
        "figures as CSV": lambda: compare.takeAway.exportCsv(str(folder / "figures.csv")),
        "planes as PNG": png,
    }


def anotherVersion(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle that says to be another version of its model: one that is here already is not added."""
    from clsdm.files.digest import sealed

    shutil.copytree(bundle, folder)
    manifest = folder / "bundle.json"
    said = json.loads(manifest.read_text("utf-8"))
    manifest.write_text(json.dumps(sealed({**said, "version": f"{said['version']}.1"})), "utf-8")
    return folder


def ofExport(panel, folder: Path) -> dict[str, Step]:
    """A reconstruction, and the difference to the CT, which is as fine as the CT itself."""
    export, names = panel.export, iter(range(1_000_000))

    def write(index: int, suffix: str, difference: bool = False) -> Step:
        def export_() -> None:
            node = panel.compare.shown.difference if difference else panel.result.result.volumeNode
            export.setReconstruction(node)
            export.ui.formatComboBox.setCurrentIndex(index)
            export.exportTo(str(folder / f"volume{next(names)}{suffix}"))
            waitFor(lambda: not export.isRunning)
            if not export.ui.statusLabel.text.startswith("Written"):
                raise RuntimeError(export.ui.statusLabel.text)

        return export_

    def addModel() -> None:
        panel.model.add(str(anotherVersion(panel.logic.models.embedded()[0].path, folder / f"model{next(names)}")))
        waitFor(lambda: not panel.ui.stageLabel.text.startswith("Checking"))
        if "was added" not in panel.ui.stageLabel.text:
            raise RuntimeError(panel.ui.stageLabel.text)
        panel.model.delete()

    return {
        "NIfTI": write(0, ".nii.gz"),
        "NRRD": write(1, ".nrrd"),
        "NIfTI of a difference on the CT's grid": write(0, ".nii.gz", difference=True),
        "NRRD of a difference on the CT's grid": write(1, ".nrrd", difference=True),
        "a DICOM series": write(2, ""),
        "a model added": addModel,
    }
