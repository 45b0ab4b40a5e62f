"""The window "Search models": those that are here and those that an index offers, found by a word, tried with a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Appearance import keepPlain, setTone, tip

COLUMNS = ("Model", "Version", "Trained on", "Volume it makes", "Size of the file", "Licence", "Where it is")
WIDEST_PIXELS = 220
"""Of a column; the whole of a longer text stands in its tooltip."""
SAMPLE = "phantom"
"""Of a model for which no index names one."""


@dataclass(frozen=True)
class Found:
    """A model that is here (``model``), or one that is offered at ``url``."""

    id: str
    version: str
    anatomy: str
    voxels: int
    spacingMm: float
    bytes: int
    licence: str
    where: str
    sample: str
    model: Any = None
    url: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """As the table shows it."""
        grid = _("{voxels}³ voxels of {spacing:g} mm").format(voxels=self.voxels, spacing=self.spacingMm)
        return self.id, self.version, self.anatomy, grid, f"{self.bytes / 1e6:.0f} MB", self.licence, self.where

    def matches(self, words: str) -> bool:
        """Whether all words are in what is shown of it."""
        shown = " ".join(self.cells).casefold()
        return all(word in shown for word in words.casefold().split())


class ModelSearch:
    """The window.

    Args:
        file: of the .ui.
        parent: widget above which it stands.
        logic: the ReconstructionLogic.
        choose: takes a ``Model`` to be used from now on.
        add: takes the address of one to be added, after a question.
        try_: takes a ``Model`` and the name of its sample.
    """

    def __init__(self, file: str, parent, logic, choose, add, try_) -> None:
        self._logic, self._choose, self._add, self._try = logic, choose, add, try_
        self._index: dict[str, Any] = {"offers": [], "samples": {}}
        self.shown: list[Found] = []
        self._told = ""  # of the index, while something matches
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(_("Models"))
        self.widget = slicer.util.loadUI(file)
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(self.widget)
        self.dialog.resize(760, 320)
        self.ui = slicer.util.childWidgetVariables(self.widget)
        keepPlain(self.widget)
        table = self.ui.modelsTable
        table.setColumnCount(len(COLUMNS))
        table.setHorizontalHeaderLabels([_(name) for name in COLUMNS])
        table.horizontalHeader().setStretchLastSection(True)
        table.verticalHeader().hide()
        table.connect("itemSelectionChanged()", self._onSelection)
        self.ui.searchEdit.connect("textChanged(QString)", lambda *_: self.refresh())
        self.ui.useButton.connect("clicked()", self._onUse)
        self.ui.tryButton.connect("clicked()", self._onTry)
        self.ui.indexEdit.connect("editingFinished()", self._onIndex)

    def open(self) -> None:
        """Show it, with the index that ships."""
        if not self.ui.indexEdit.text:
            self._take(self._logic.models.index())
        self.refresh()
        self.dialog.show()
        self.dialog.raise_()

    @property
    def chosen(self) -> Found | None:
        """The selected one."""
        row = self.ui.modelsTable.currentRow()
        return self.shown[row] if 0 <= row < len(self.shown) else None

    def refresh(self) -> None:
        """Fill the table with what matches the words."""
        found = [each for each in self._all() if each.matches(self.ui.searchEdit.text)]
        self.shown, table = found, self.ui.modelsTable
        table.setRowCount(len(found))
        for row, each in enumerate(found):
            for column, text in enumerate(each.cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(tip(text))
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        for column in range(len(COLUMNS)):
            table.setColumnWidth(column, min(table.columnWidth(column), WIDEST_PIXELS))
        self.ui.indexLabel.text = self._told if found else _("No model has all of these words.")
        if found:
            table.selectRow(0)
        self._onSelection()

    def _all(self) -> list[Found]:
        samples, here = self._index["samples"], self._logic.listModels()
        onServer = self._logic.server.isUsed

        def where(model) -> str:
            return _("on the server") if onServer else _("in this module") if model.embedded else _("added by you")

        found = [
            Found(each.id, each.version, each.anatomy, each.voxels, each.spacingMm, each.bytes, each.licence, where(each),
                  samples.get(each.id, SAMPLE), each)
            for each in here
        ]  # fmt: skip
        known = {(each.id, version) for each in here for version in ("", each.version)}
        offers = [each for each in self._index["offers"] if (each["id"], each["version"]) not in known]
        offers = [] if onServer else offers
        return found + [
            Found(each["id"], each["version"], each["anatomy"], each["voxels"], each["spacing_mm"], each["bytes"],
                  each["licence"], _("to download"), samples.get(each["id"], SAMPLE), None,
                  f"{each['url']}#sha256={each['sha256']}")
            for each in offers
        ]  # fmt: skip

    def _onSelection(self) -> None:
        chosen = self.chosen
        self.ui.useButton.enabled = chosen is not None
        self.ui.useButton.text = _("Add…") if chosen is not None and chosen.model is None else _("Use")
        self.ui.tryButton.enabled = chosen is not None and chosen.model is not None
        self.ui.tryButton.toolTip = (
            _("No model has all of these words; search for others.") if chosen is None
            else _("Add this model first.") if chosen.model is None
            else _("Reconstruct X-rays of the public chest CT (35 MB, downloaded once, on your consent)")
            if chosen.sample == "chest" else _("Reconstruct X-rays of a phantom, which needs no network")
        )  # fmt: skip

    def _onUse(self) -> None:
        if self.chosen.model is None:
            self._add(self.chosen.url)
        else:
            self._choose(self.chosen.model)
            self.dialog.hide()

    def _onTry(self) -> None:
        self.dialog.hide()
        self._try(self.chosen.model, self.chosen.sample)

    # --- the index ---

    def _onIndex(self) -> None:
        source = self.ui.indexEdit.text.strip()
        if "://" in source:
            self._say(_("Asking…"), "muted")
            self._logic.fetchIndex(source, onFinished=lambda run: self._take(run.result), onError=self._onFailed)
            return
        try:
            self._take(self._logic.models.index(Path(source) if source else None))
        except (ValueError, OSError) as error:
            self._say(str(error), "error")

    def _take(self, index: dict[str, Any]) -> None:
        self._index = index
        self._say(_("{count} models are offered for download.").format(count=len(index["offers"])), "muted")
        self.refresh()

    def _onFailed(self, run) -> None:
        if run.state == "failed":
            self._say(str(run.error), "error")

    def _say(self, text: str, tone: str) -> None:
        self._told = self.ui.indexLabel.text = text
        setTone(self.ui.indexLabel, tone)
