"""Views that draw one after the other, each once.

Slicer draws every view that a change touches, most of them in the same turn of the event loop: a layout draws all that it
brings in, a volume that joins the scene whatever was there before. Views that are held draw nothing. Let go, each draws
what has become of it in a turn of its own.
"""

import contextlib
from collections.abc import Iterable, Iterator

import slicer

from CLSDMReconstructionLib.base.Steps import Steps


class HeldViews:
    """Holds Slicer's slice and 3-D views; without a main window there are none."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._blocks = 0
        self._letting: Steps | None = None

    @contextlib.contextmanager
    def held(self, nodes: Iterable | None = None) -> Iterator[None]:
        """Hold them while something is done; they draw, in the background, when the last such block has ended.

        Args:
            nodes: of the views that this concerns; all of them by default.
        """
        self._blocks += 1
        self.hold(nodes)
        try:
            yield
        finally:
            self._blocks -= 1
            if self._blocks == 0 and self._held:
                self._letting = Steps(self._drawing(), self._onLetGo, self._onLetGo)

    def hold(self, nodes: Iterable | None = None) -> None:
        """In such a block, hold those views too that were made and have drawn since it began.

        A view that has never drawn is left alone: held until after it is shown, it would stay black for good.
        """
        self._stopLetting()
        names = None if nodes is None else {node.GetID() for node in nodes}
        for name, view in _views():
            if view.renderEnabled and (names is None or name in names) and not view.renderWindow().GetNeverRendered():
                view.setRenderEnabled(False)
                self._held.add(name)

    @property
    def isHolding(self) -> bool:
        """Whether there are views that have not drawn yet."""
        return bool(self._held)

    def stop(self) -> None:
        """Let them draw when they will."""
        self._stopLetting()
        self._release()

    def _drawing(self) -> Iterator[float]:
        for name, view in _views():  # those that were deleted meanwhile are not among them
            if name in self._held:
                self._held.remove(name)
                view.setRenderEnabled(True)
                if view.isVisible():
                    view.forceRender()
                    yield 0.0

    def _onLetGo(self, _outcome: object) -> None:
        self._letting = None
        self._release()

    def _stopLetting(self) -> None:
        letting, self._letting = self._letting, None
        if letting is not None:
            letting.cancel()

    def _release(self) -> None:
        for name, view in _views():
            if name in self._held:
                view.setRenderEnabled(True)
                view.scheduleRender()
        self._held.clear()


def _views() -> list[tuple[str, object]]:
    """(ID of the view's node, ctkVTKAbstractView) of all views in which something may be drawn."""
    manager = slicer.app.layoutManager()
    if manager is None:
        return []
    slices = [manager.sliceWidget(name) for name in manager.sliceViewNames()]
    spaces = [manager.threeDWidget(number) for number in range(manager.threeDViewCount)]
    return [(each.mrmlSliceNode().GetID(), each.sliceView()) for each in slices] + [
        (each.mrmlViewNode().GetID(), each.threeDView()) for each in spaces
    ]
