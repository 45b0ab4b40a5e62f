"""Pictures of the module in every state, of the real widgets over the emulated Slicer around them.

    .venv/bin/python Testing/screenshots.py [FOLDER] [--ct FILE]

Writes empty, ready, running, result, comparison, error and missing.jpg to FOLDER (default: build/screenshots). The case
is a CT of your own (--ct), else the public chest CT where the sample menu has put it, else the phantom. Needs the
packages of the extra `test`, and torch.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CLSDMReconstruction")]

import stand_ins  # noqa: E402

stand_ins.install(TESTING.parent / "CLSDMReconstruction" / "CLSDMReconstruction.py")

import slicer  # noqa: E402
from stand_ins import python_qt  # noqa: E402

SIZE = (1500, 1000)
LIMIT_S = 3600.0
QUALITY = 80  # below 300 kB each


class Session:
    """A user's way through the module, with a picture at every stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.window = slicer.util.mainWindow()
        self.window.resize(*SIZE)
        self.window.show()
        slicer.util.selectModule("CLSDMReconstruction")
        self.panel = slicer.util.getModuleWidget("CLSDMReconstruction").panel
        self.ui = self.panel.ui

    def shot(self, name: str, section: str = "noticeLabel") -> None:
        """Scroll to a part of the panel and take a picture of the whole window."""
        for _ in range(5):
            slicer.app.processEvents()
        scroll = self.window.moduleScrollArea()
        part = getattr(self.ui, section)
        scroll.verticalScrollBar().setValue(part.mapTo(self.panel.widget, part.rect.topLeft()).y())
        slicer.app.layoutManager().renderAll()
        for _ in range(5):
            slicer.app.processEvents()
        path = self.folder / f"{name}.jpg"
        self.window.grab().toImage().save(str(path), "JPG", QUALITY)
        print(f"{path} ({path.stat().st_size / 1000:.0f} kB)")  # noqa: T201

    def wait(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + LIMIT_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"{self.ui.stageLabel.text!r} after {LIMIT_S:g} s")
            slicer.app.processEvents()
            time.sleep(0.01)

    def chooseCase(self, ct: Path | None) -> None:
        """Fill the slots."""
        if ct is None:
            self.panel.samples.loadPhantom()
        else:
            node = slicer.util.loadVolume(str(ct), {"name": "CT"})
            self.panel.samples._project(node)
        self.wait(lambda: all(slot.hasPreview() for slot in self.panel.xrays.slots))

    def reconstruct(self) -> None:
        self.ui.reconstructButton.click()
        self.wait(lambda: self.panel.run is None)


def main() -> int:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=TESTING.parent / "build" / "screenshots")
    parser.add_argument("--ct", type=Path)
    options = parser.parse_args()
    os.environ.setdefault("CLSDM_PYTHON", sys.executable)
    session = Session(options.folder)
    ui, panel = session.ui, session.panel
    session.shot("empty")
    missing(session)
    session.chooseCase(options.ct)
    session.shot("ready")
    ui.productSelector.setCurrentIndex(2)
    ui.logSection.collapsed = False
    ui.reconstructButton.click()
    session.wait(lambda: ui.progressBar.value > 400)
    session.shot("running", "modelSection")
    ui.reconstructButton.click()  # Cancel
    session.wait(lambda: panel.run is None)
    ui.logSection.collapsed = True
    ui.productSelector.setCurrentIndex(0)
    session.reconstruct()
    session.shot("result", "reconstructButton")
    ui.compareSection.collapsed = False
    compare(session)
    session.shot("comparison", "compareSection")
    panel.compare.exit()
    ui.compareSection.collapsed = True
    fail(session)
    session.shot("error", "modelSection")
    panel.cleanup()
    return 1 if python_qt.slot_errors else 0


def compare(session: Session) -> None:
    """Show the comparison, with figures."""
    panel = session.panel.compare
    panel.ui.compareButton.click()
    session.wait(lambda: panel.shown.figures is not None and panel.screen.layout.isShown and not panel.screen.isOpening)


def fail(session: Session) -> None:
    """The worker runs out of memory."""
    from CLSDMReconstructionLib.worker import Faults

    session.panel.runSection.idle()
    error = Faults.explain("memory", "CUDA out of memory", "", {"product": "ensemble", "device": "cuda"})
    session.panel.runSection.showError(error)


def missing(session: Session) -> None:
    """A picture of the panel where PyTorch is not there."""
    from CLSDMReconstructionLib.install.Dependencies import Dependencies

    section, python = session.panel.dependencies, os.environ.pop("CLSDM_PYTHON")
    onlyUtils = Dependencies(lambda name: name if name == "PyTorchUtils" else None)
    there, section._dependencies = section._dependencies, onlyUtils
    session.panel.enter()
    session.shot("missing")
    os.environ["CLSDM_PYTHON"], section._dependencies = python, there
    session.panel.enter()


if __name__ == "__main__":
    sys.exit(main())
