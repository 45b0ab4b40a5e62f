"""The base class of the panels below the result, each of which fills a section from a .ui file of its own."""

from pathlib import Path

import slicer

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.Appearance import setTone

FOLDER = Path(__file__).resolve().parents[2] / "Resources" / "UI"


class Panel:
    """A section with selectors, a line that says what happened, and work that can be cancelled.

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
        self._chosen = Nodes.Chosen(*(getattr(self.ui, selector) for selector in selectors))

    def setMRMLScene(self, scene) -> None:
        """Give the selectors the scene."""
        self.widget.setMRMLScene(scene)
        self._chosen.watch(scene)

    def setReconstruction(self, node) -> None:
        """A reconstruction was made."""

    def setTruth(self, node) -> None:
        """A ground-truth CT is known."""

    def enter(self) -> None:
        """The module is shown."""

    def exit(self) -> None:
        """The user goes elsewhere; what is at work goes on."""

    def cancel(self) -> None:
        """Stop what is at work; nothing of it is left."""

    def cleanup(self) -> None:
        """Stop and let go of the scene."""
        self.cancel()
        self._chosen.watch(None)
        self.widget.setMRMLScene(None)

    def _say(self, text: str, failed: bool = False) -> None:
        self.ui.statusLabel.setText(text)
        setTone(self.ui.statusLabel, "error" if failed else "plain")
