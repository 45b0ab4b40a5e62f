"""Pictures of the module in every state: in Slicer itself, or of the real widgets over the emulated Slicer around them.

    Slicer --no-splash --additional-module-paths CLSDMReconstruction --python-script Testing/screenshots.py [FOLDER] ...
    .venv/bin/python Testing/screenshots.py [FOLDER] [--ct FILE] [--all]                          (emulated Slicer)

Writes empty, missing, ready, running, result, volume, comparison, profile and error.jpg to FOLDER (default:
build/screenshots); with --all each on screens of 1280x800, 1600x900 and 1920x1080, light and dark. The case is a CT of
your own (--ct), else the phantom. Without Slicer it needs the packages of the extra `test`, and torch.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

TESTING = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTING), str(TESTING.parent / "CLSDMReconstruction")]
IN_SLICER = "slicer" in sys.modules and hasattr(sys.modules["slicer"], "app")
if not IN_SLICER:
    import stand_ins

    stand_ins.install(TESTING.parent / "CLSDMReconstruction" / "CLSDMReconstruction.py")

import qt  # noqa: E402
import slicer  # noqa: E402
from scene_case import waitFor  # noqa: E402

from CLSDMReconstructionLib.scene import Volumes  # noqa: E402

SIZES = {"": (1500, 1000)}
ALL_SIZES = {f"-{width}x{height}": (width, height) for width, height in ((1280, 800), (1600, 900), (1920, 1080))}
LIMIT_S = 3600.0
QUALITY = 80  # below 300 kB each


class Session:
    """A user's way through the module, with a picture at every stop."""

    def __init__(self, folder: Path, everything: bool) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.sizes = ALL_SIZES if everything else SIZES
        schemes = {"": wearSlicers("Light") if IN_SLICER else wearFusion(slicer.app.palette())}
        if everything:
            schemes["-dark"] = wearSlicers("Dark") if IN_SLICER else wearFusion(dark())
        self.schemes = schemes
        self.window = slicer.util.mainWindow()
        self.window.resize(*next(iter(self.sizes.values())))
        self.window.show()
        slicer.util.selectModule("CLSDMReconstruction")
        self.panel = slicer.util.getModuleWidget("CLSDMReconstruction").panel
        self.ui = self.panel.ui

    def shot(self, name: str, section: str = "noticeLabel") -> None:
        """Scroll to a part of the panel and take a picture of the whole window, in each size and scheme."""
        for size, pixels in self.sizes.items():
            self._resize(*pixels)
            for scheme, wear in self.schemes.items():
                wear()
                self._settle()
                scroll, part = self.ui.scrollArea, getattr(self.ui, section)
                scroll.verticalScrollBar().setValue(part.mapTo(self.ui.scrollContents, part.rect.topLeft()).y())
                (slicer.util.forceRenderAllViews if IN_SLICER else slicer.app.layoutManager().renderAll)()
                self._settle()
                path = self.folder / f"{name}{size}{scheme}.jpg"
                self.window.grab().toImage().save(str(path), "JPG", QUALITY)
                print(f"{path} ({path.stat().st_size / 1000:.0f} kB)", flush=True)  # noqa: T201

    def _resize(self, width: int, height: int) -> None:
        """A comparison takes the form that suits the window when it is opened."""
        screen, box = self.panel.compare.screen, self.panel.compare.ui.layoutCheckBox
        shown, profile = screen.layout.isShown, self.panel.compare.takeAway.profile.isShown
        if shown:
            self._click(screen, box)  # the profile goes with it
        self.window.resize(width, height)
        self._settle()
        self.window.resize(width, height)  # what made it wider before may have gone only now
        if shown:
            self._click(screen, box)
        if profile:
            self.showProfile()

    def showProfile(self) -> None:
        """Plot along a line of the comparison."""
        self.panel.compare.takeAway.showProfile()
        self.wait(lambda: not self.panel.compare.isWorking("profile"))
        self._settle()

    def _click(self, screen, box) -> None:
        box.click()
        self.wait(lambda: not screen.isOpening and not screen.isDrawing)
        self._settle()

    @staticmethod
    def _settle() -> None:
        for _ in range(5):
            slicer.app.processEvents()

    def wait(self, condition: Callable[[], object]) -> None:
        waitFor(condition, LIMIT_S)

    def chooseCase(self, ct: Path | None) -> None:
        """Fill the slots."""
        if ct is None:
            self.panel.samples.loadPhantom()
        else:
            node = slicer.util.loadVolume(str(ct), {"name": "CT"})
            node.GetDisplayNode().SetAutoWindowLevel(False)
            node.GetDisplayNode().SetWindowLevel(Volumes.HU_WINDOW, Volumes.HU_LEVEL)
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
    parser.add_argument("--all", action="store_true", help="every size, light and dark")
    options = parser.parse_args()
    os.environ.setdefault("CLSDM_PYTHON", sys.executable)
    session = Session(options.folder, options.all)
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
    session.wait(lambda: panel.result._exposing is None)
    session.shot("result", "resultSection")
    ui.renderingCheckBox.checked = True
    session.shot("volume", "residualArea")
    ui.renderingCheckBox.checked = False
    ui.compareSection.collapsed = False
    compare(session)
    session.shot("comparison", "compareSection")
    session.showProfile()
    session.shot("profile", "compareSection")
    panel.compare.exit()
    ui.compareSection.collapsed = True
    fail(session)
    session.shot("error", "modelSection")
    panel.cleanup()
    return 0 if IN_SLICER else int(bool(stand_ins.python_qt.slot_errors))


def wearSlicers(scheme: str) -> Callable[[], None]:
    """Slicer's own style, "Light" or "Dark"."""

    def wear() -> None:
        slicer.app.setStyle(f"{scheme} Slicer")
        slicer.app.setPalette(slicer.app.style().standardPalette())

    return wear


def wearFusion(palette) -> Callable[[], None]:
    """Qt's own style in these colours."""
    slicer.app.setStyle("fusion")
    return lambda: slicer.app.setPalette(palette)


def dark():
    """The colours of Slicer's dark style (qSlicerDarkStyle), where it is not there."""
    palette = qt.QPalette()
    for roles, colour in (
        ("Window Button", "#353535"),
        ("Base", "#191919"),
        ("AlternateBase ToolTipBase", "#404040"),
        ("WindowText Text ButtonText ToolTipText BrightText", "#f0f0f0"),
        ("PlaceholderText", "#909090"),
        ("Highlight Link", "#5c8ec6"),
    ):
        for role in roles.split():
            palette.setColor(getattr(qt.QPalette, role), qt.QColor(colour))
    for role in ("WindowText", "Text", "ButtonText"):
        palette.setColor(qt.QPalette.Disabled, getattr(qt.QPalette, role), qt.QColor("#808080"))
    return palette


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
    status = main()
    if IN_SLICER:
        slicer.util.exit(status)
    else:
        sys.exit(status)
