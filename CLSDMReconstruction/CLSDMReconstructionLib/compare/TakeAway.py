"""Files of a comparison to take along: its figures as CSV, its planes as PNG; and both volumes' HU along a line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Panel import Panel
from CLSDMReconstructionLib.compare import ComparisonReport as Report
from CLSDMReconstructionLib.compare.ComparisonScreen import ComparisonScreen
from CLSDMReconstructionLib.compare.LineProfile import LineProfile
from CLSDMReconstructionLib.scene.Attributes import attributeOf, provenanceOf
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.scene.Sampling import centre


@dataclass
class Comparison:
    """Two volumes and what was found about them.

    Attributes:
        truth: node of the CT, or None.
        reconstruction: node, or None.
        difference: node of reconstruction minus CT, or None until it is made.
        table: node of the figures, or None.
        figures: the worker's answer, or None until it came.
    """

    truth: Any = None
    reconstruction: Any = None
    difference: Any = None
    table: Any = None
    figures: dict | None = None

    @property
    def pair(self) -> tuple:
        """(truth, reconstruction)."""
        return self.truth, self.reconstruction

    def rows(self) -> list[tuple[str, ...]]:
        """Of the table of figures."""
        return Report.tableRows(self.figures, attributeOf(self.reconstruction, "residuals", []))


class TakeAway:
    """The buttons for it.

    Args:
        panel: the ComparePanel, which does long work and says what became of it.
        screen: the comparison on the screen.
        views: which are held while much changes in them.
        shown: gives the Comparison.
        remove: takes nodes that are to go.

    Attributes:
        profile: the LineProfile.
    """

    def __init__(
        self,
        panel: Panel,
        screen: ComparisonScreen,
        views: HeldViews,
        shown: Callable[[], Comparison],
        remove: Callable[[list], None],
    ) -> None:
        self._panel, self._screen, self._views, self._shown, self._remove = panel, screen, views, shown, remove
        self.profile = LineProfile()
        ui = panel.ui
        ui.profileButton.connect("clicked(bool)", self.showProfile)
        ui.csvButton.connect(
            "clicked()", lambda: self._saveAs(_("Save the table"), "comparison.csv", "*.csv", self.exportCsv)
        )
        ui.pngButton.connect(
            "clicked()", lambda: self._saveAs(_("Save the picture"), "comparison.png", "*.png", self.exportPng)
        )

    def exportCsv(self, path: str) -> None:
        """Write the table of figures."""
        comparison = self._shown()
        Report.writeCsv(Path(path), comparison.rows(), provenanceOf(comparison.reconstruction), self._about())
        self._panel.say(_("Saved the table."))

    def exportPng(self, path: str) -> None:
        """Write a picture of the planes that are shown, in the background."""
        self._panel.begin("picture", self._pictureTo(Path(path)), lambda _: self._panel.say("Saved the picture."))

    def showProfile(self, shown: bool = True) -> None:
        """Plot both along a line, in the comparison's views, which are opened for it; or take line and plot away."""
        if not shown:
            self._panel.stop("profile")
            self._dropProfile()
            with self._views.held():
                self._screen.layout.showPlot(False)
        elif not self._panel.isWorking("profile"):
            self._panel.begin("profile", self._plot(), lambda _result: None)

    def update(self, reason: str) -> None:
        """Enable what can be used now; ``reason``: why nothing can, or ""."""
        comparison, ui = self._shown(), self._panel.ui
        ready = not reason and comparison.difference is not None
        isPlotting = self._panel.isWorking("profile")
        if not isPlotting and not self._screen.isWanted:  # the line would lie among the user's own views
            self._dropProfile()
            self._screen.layout.showPlot(False, later=True)
        ui.profileButton.setChecked(isPlotting or self.profile.isShown)
        for button, usable in (
            (ui.profileButton, ready),
            (ui.pngButton, ready and not self._panel.isWorking("picture")),
            (ui.csvButton, not reason and comparison.figures is not None),
        ):
            button.setEnabled(usable)

    def _dropProfile(self) -> None:
        if self.profile.isShown:
            self._remove(self.profile.handOver(forget=False))

    def picture(self) -> Iterator[float]:
        """Paint the planes that are shown; the generator returns (rows, columns, 3) uint8."""
        comparison = self._shown()
        headline = [f"{name}: {text}" for name, text in self._about()]
        headline += [Report.headlineOf(comparison.figures)] if comparison.figures else []
        volumes = (*comparison.pair, comparison.difference)
        return Report.picture(volumes, self._position(), *self._shownAs(), headline)

    def _shownAs(self) -> tuple[tuple[float, float], float]:
        """(window, level) of both volumes and the limit of the difference, in HU."""
        return self._screen.window.get(), self._panel.ui.limitSlider.value

    def _about(self) -> list[tuple[str, str]]:
        return Report.about(*self._shown().pair, *self._shownAs())

    def _pictureTo(self, path: Path) -> Iterator[float]:
        rgb = yield from self.picture()
        yield from Report.writePng(path, rgb)

    def _plot(self) -> Iterator[float]:
        if not self._screen.isWanted:
            self._screen.open()
        while self._screen.isOpening:
            yield 0.0
        if not self._screen.layout.isShown:  # another layout was chosen meanwhile
            return
        with self._views.held():
            self._screen.layout.showPlot()
            yield 0.0
            yield from self.profile.show(*self._shown().pair, self._position(), self._screen.layout.plotView())

    def _position(self):
        """RAS position where the planes cross that are shown, or the reconstruction's middle."""
        layout = self._screen.layout
        return layout.position() if layout.isShown else centre(self._shown().reconstruction)

    def _saveAs(self, title: str, name: str, pattern: str, write: Callable[[str], None]) -> None:
        path = self._panel.askForFile(title, name, pattern)
        if path:
            with slicer.util.tryWithErrorDisplay(_("The file could not be written.")):
                write(path)
