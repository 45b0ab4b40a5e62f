"""A comparison on the screen: its layout is opened, filled and left, all views held meanwhile."""

from collections.abc import Callable, Iterator

import vtk

from CLSDMReconstructionLib.base.Steps import Steps
from CLSDMReconstructionLib.compare.ComparisonLayout import ComparisonLayout
from CLSDMReconstructionLib.compare.Overlay import Overlay, SharedWindow
from CLSDMReconstructionLib.scene.HeldViews import HeldViews


class ComparisonScreen:
    """See the module's docstring.

    Args:
        views: which are held while much changes in them.
        fill: steps that show the volumes once the layout is there.
        onChanged: called when it is on its way, when it is there, and when it was left, also by a user who chose another.
        onError: called with what ended the opening.

    Attributes:
        layout: the ComparisonLayout.
        window: the SharedWindow of the volumes.
        overlay: the Overlay of the reconstruction's views.
    """

    def __init__(
        self,
        views: HeldViews,
        fill: Callable[[], Iterator[float]],
        onChanged: Callable[[], None],
        onError: Callable[[Exception], None],
    ) -> None:
        self.layout, self.window = ComparisonLayout(), SharedWindow()
        self.overlay = Overlay(self.layout, self.window)
        self._views, self._fill, self._onChanged, self._onError = views, fill, onChanged, onError
        self._opening: Steps | None = None
        self._filled = False  # or being filled: colours and overlay are the comparison's
        self._wasShown = False
        self._watched = None

    def watch(self, scene) -> None:
        """Hear of layouts that the user chooses in this scene; None for none."""
        if self._watched is not None:
            self._watched[0].RemoveObserver(self._watched[1])
        node = scene.GetFirstNodeByClass("vtkMRMLLayoutNode") if scene is not None else None
        self._watched = None if node is None else (node, node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onLayout))

    @property
    def isOpening(self) -> bool:
        """Whether the layout is on its way."""
        return self._opening is not None

    @property
    def isWanted(self) -> bool:
        """Whether the layout is shown or on its way."""
        return self.layout.isShown or self.isOpening

    @property
    def isDrawing(self) -> bool:
        """Whether a view has still to draw the layout that was entered or left."""
        return self._views.isHolding

    def open(self) -> None:
        """Switch to the layout and fill it, in the background; anew where another comparison is shown in it."""
        if self._opening is None:
            self._opening = Steps(self._open(), self._onOpened, self._onNotOpened)
            self._onChanged()

    def stopOpening(self) -> None:
        """Leave it as it is."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()

    def leave(self) -> None:
        """Back to the user's layout, with the colours that were; also where a scene brought the layout."""
        if self._filled or self.isWanted:
            with self._views.held():
                self.stopOpening()
                self._filled = False
                self.overlay.stop()
                self.window.stop()
                self.layout.leave()
            self._onChanged()

    def _open(self) -> Iterator[float]:
        with self._views.held():
            yield from self.layout.makeViews()
            for fraction in self.layout.enter():
                self._filled = True
                yield fraction
                self._views.hold()  # what has come and drawn meanwhile
            self._filled = True
            yield 1.0  # in the first turn the views are laid out, in the second they have their sizes
            yield 1.0
            yield from self._fill()

    def _onOpened(self, _result: object) -> None:
        self._opening = None
        self._onLayout()  # the user may have chosen another on the way
        self._onChanged()

    def _onNotOpened(self, error: Exception) -> None:
        self.leave()
        self._onError(error)

    def _onLayout(self, *_arguments) -> None:
        """The user chose another layout: colours as they were, too."""
        if self._filled and not self.layout.isShown:
            self.leave()
        elif self._wasShown != self.layout.isShown:
            self._wasShown = self.layout.isShown
            self._onChanged()
