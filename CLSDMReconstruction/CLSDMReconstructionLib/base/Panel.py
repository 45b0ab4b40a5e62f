"""The base class of the panels below the result, each of which fills a section from a .ui file of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import qt
import slicer

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Appearance import keepPlain, setTone
from CLSDMReconstructionLib.base.Narrow import keepNarrow
from CLSDMReconstructionLib.base.Steps import Steps

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


class Panel:
    """A section with selectors, a line of status, and work of its own that can be cancelled.

    Args:
        name: of the .ui file, without its ending.
        selectors: names of the node selectors in it.
        parent: widget that holds the panel.

    Attributes:
        widget: the panel.
        ui: its named widgets.
    """

    def __init__(self, name: str, selectors: tuple[str, ...], parent=None) -> None:
        self.widget = slicer.util.loadUI(str(FOLDER / f"{name}.ui"))
        if parent is not None and parent.layout() is not None:
            parent.layout().addWidget(self.widget)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        keepNarrow(self.widget)
        keepPlain(self.widget)
        self._chosen = Nodes.Chosen(*(getattr(self.ui, selector) for selector in selectors))
        self._work: dict[str, Steps] = {}
        self._run = None  # of the worker, for this panel
        self._failed = False
        self._cannot = ""

    def setMRMLScene(self, scene) -> None:
        """Give the selectors the scene."""
        self.widget.setMRMLScene(scene)
        self._chosen.watch(scene)

    def setCannot(self, reason: str) -> None:
        """Why nothing can be computed, or "" where it can."""
        if reason != self._cannot:
            self._cannot = reason
            self._update()

    def setReconstruction(self, node) -> None:
        """A reconstruction was made."""

    def setTruth(self, node) -> None:
        """A ground-truth CT is known."""

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """The user goes elsewhere; what is at work goes on."""

    def sceneLoaded(self) -> None:
        """A scene was opened, or added to the open one."""

    def forget(self) -> None:
        """The scene closes: what was said of it goes."""
        self.say("")

    def cancel(self) -> None:
        """Stop what is at work; nothing of it is left."""

    def cleanup(self) -> None:
        """Stop and let go of the scene."""
        self.cancel()
        self._chosen.watch(None)
        self.widget.setMRMLScene(None)

    def isWorking(self, name: str) -> bool:
        """Whether work of this name is being done in the background."""
        return name in self._work

    def begin(
        self,
        name: str,
        steps: Iterator[float],
        onFinished: Callable[[object], None],
        onError: Callable[[Exception], None] | None = None,
        onProgress: Callable[[float], None] = lambda fraction: None,
    ) -> None:
        """Do the steps in the background under this name; an error is shown, unless ``onError`` takes it."""

        def finish(result: object) -> None:
            del self._work[name]
            onFinished(result)
            self._update()

        def fail(error: Exception) -> None:
            del self._work[name]
            (onError or self.sayError)(error)
            self._update()

        self._work[name] = Steps(steps, finish, fail, onProgress)
        self._update()

    def stop(self, name: str) -> None:
        """Stop the work of this name, if it is being done."""
        steps = self._work.pop(name, None)
        if steps is not None:
            steps.cancel()

    def _stopWork(self) -> None:
        work, self._work = self._work, {}
        for steps in work.values():
            steps.cancel()

    def _onError(self, run) -> None:
        if run is not self._run:  # cancelled here, and said so already
            return
        self._run = None
        self.sayError(run.error)
        self._update()

    def _onProgress(self, fraction: float) -> None:
        self.ui.progressBar.setValue(int(1000 * fraction))

    def _showButton(self, button, running: bool, text: str, tip: str, reason: str) -> None:
        """The button that starts the panel's main work, and cancels it while it runs; disabled for a reason."""
        reason = "" if running else self._cannot or reason
        button.setText(text)
        button.setEnabled(not reason)
        button.setToolTip(reason or tip)
        self.ui.progressBar.setVisible(running)

    def _update(self) -> None:
        """Enable what can be used now, and say why something cannot."""

    def askForFile(self, title: str, name: str, pattern: str) -> str:
        """The file that the user chooses to write, or ""."""
        path = qt.QFileDialog.getSaveFileName(self.widget, title, name, pattern)
        return path[0] if isinstance(path, tuple) else path

    def say(self, text: str, failed: bool = False) -> None:
        self._failed = failed
        self.ui.statusLabel.setText(text)
        setTone(self.ui.statusLabel, "error" if failed else "plain")

    def clearError(self) -> None:
        """Take an error away that no longer holds."""
        if self._failed:
            self.say("")

    def sayError(self, error: Exception) -> None:
        self.say(str(error), failed=True)
