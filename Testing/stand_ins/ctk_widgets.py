"""The CTK widgets that the module uses, with their properties and signals (read in commontk/CTK, Libs/Widgets)."""

from __future__ import annotations

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal


class ctkCollapsibleButton(QtWidgets.QWidget):
    """A titled section that opens and closes on a click."""

    __stand_in__ = True
    contentsCollapsed = Signal(bool)
    clicked = Signal(bool)
    toggled = Signal(bool)
    HEADER = 26

    def __init__(self, *arguments: object) -> None:
        title = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        super().__init__(*[one for one in arguments if one is not None and not isinstance(one, str)])
        self._text, self._collapsed, self._checkable, self._flat, self._height = title, False, True, False, 10
        self._hidden: list[QtWidgets.QWidget] = []
        self.setContentsMargins(0, self.HEADER, 0, 0)

    def getText(self) -> str:
        return self._text

    def setText(self, text: str) -> None:
        self._text = text
        self.update()

    def getCollapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self._apply()
        self.contentsCollapsed.emit(collapsed)
        self.toggled.emit(not collapsed)

    def getChecked(self) -> bool:
        return not self._collapsed

    def setChecked(self, checked: bool) -> None:
        self.setCollapsed(not checked)

    def getFlat(self) -> bool:
        return self._flat

    def setFlat(self, flat: bool) -> None:
        self._flat = flat

    def getCollapsedHeight(self) -> int:
        return self._height

    def setCollapsedHeight(self, height: int) -> None:
        self._height = height

    text = Property(str, getText, setText)
    collapsed = Property(bool, getCollapsed, setCollapsed, notify=contentsCollapsed)
    checked = Property(bool, getChecked, setChecked)
    flat = Property(bool, getFlat, setFlat)
    collapsedHeight = Property(int, getCollapsedHeight, setCollapsedHeight)

    def toggle(self) -> None:
        self.setCollapsed(not self._collapsed)

    def click(self) -> None:
        self.toggle()
        self.clicked.emit(not self._collapsed)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        super().childEvent(event)
        if self._collapsed and event.type() == QtCore.QEvent.ChildAdded:
            QtCore.QTimer.singleShot(0, self, self._apply)

    def _apply(self) -> None:
        """Hide what the section holds, or show again what it hid."""
        if self._collapsed:
            for child in self.children():
                if isinstance(child, QtWidgets.QWidget) and not child.isHidden():
                    child.setVisible(False)
                    self._hidden.append(child)
        else:
            for child in self._hidden:
                child.setVisible(True)
            self._hidden = []
        self.setMaximumHeight(self.HEADER + 4 if self._collapsed else 16777215)
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QtCore.QSize:
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(200, self.HEADER + 4)
        return super().sizeHint()

    def minimumSizeHint(self) -> QtCore.QSize:
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(60, self.HEADER)
        return super().minimumSizeHint()

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        if event.position().y() < self.HEADER:
            self.click()

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self.HEADER)
        painter.drawPrimitive(QtWidgets.QStyle.PE_PanelButtonCommand, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(8, 8, 10, 10)
        kind = QtWidgets.QStyle.PE_IndicatorArrowRight if self._collapsed else QtWidgets.QStyle.PE_IndicatorArrowDown
        painter.drawPrimitive(kind, arrow)
        area = QtCore.QRect(26, 0, self.width - 30, self.HEADER)
        painter.drawText(area, QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft, self._text.replace("&&", "&"))
        if not self._collapsed:
            painter.setPen(self.palette.color(QtGui.QPalette.Mid))
            painter.drawRect(QtCore.QRect(0, self.HEADER - 1, self.width - 1, self.height - self.HEADER))


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box whose check mark folds it."""

    __stand_in__ = True

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self._hidden: list[QtWidgets.QWidget] = []
        self.toggled.connect(lambda shown: self._show(shown))

    def getCollapsed(self) -> bool:
        return not self.isChecked()

    def setCollapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)
        self._show(not collapsed)

    collapsed = Property(bool, getCollapsed, setCollapsed)

    def _show(self, shown: bool) -> None:
        if not shown:
            children = [one for one in self.children() if isinstance(one, QtWidgets.QWidget) and not one.isHidden()]
            self._hidden = [*self._hidden, *children]
        for child in self._hidden:
            child.setVisible(shown)
        if shown:
            self._hidden = []


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path with a button to browse."""

    __stand_in__ = True
    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    SIGNATURES = {"currentPathChanged": ("currentPathChanged(QString)",)}
    Files, Dirs, Readable, Writable = 1, 2, 16, 32

    def __init__(self, *arguments: object) -> None:
        super().__init__(*[one for one in arguments if isinstance(one, QtWidgets.QWidget)])
        self._filters, self._patterns, self._key = 0, [], ""
        self._edit, self._button = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._button.setText("...")
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._edit)
        box.addWidget(self._button)
        self._edit.textChanged.connect(self.currentPathChanged.emit)
        self._button.clicked.connect(lambda *_: self.browse())

    def getCurrentPath(self) -> str:
        return self._edit.text

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def getFilters(self) -> int:
        return self._filters

    def setFilters(self, filters: int) -> None:
        self._filters = filters

    def getNameFilters(self) -> list[str]:
        return self._patterns

    def setNameFilters(self, patterns: list[str]) -> None:
        self._patterns = list(patterns)

    def getSettingKey(self) -> str:
        return self._key

    def setSettingKey(self, key: str) -> None:
        self._key = key

    def getShowHistory(self) -> bool:
        return False

    def setShowHistory(self, shown: bool) -> None:
        pass

    currentPath = Property(str, getCurrentPath, setCurrentPath)
    filters = Property(int, getFilters, setFilters)
    nameFilters = Property("QStringList", getNameFilters, setNameFilters)
    settingKey = Property(str, getSettingKey, setSettingKey)
    showHistoryButton = Property(bool, getShowHistory, setShowHistory)

    def addCurrentPathToHistory(self) -> None:
        """The original remembers it in its settings."""

    def browse(self) -> None:
        path = QtWidgets.QFileDialog.getOpenFileName(self, "", self._edit.text, ";;".join(self._patterns))
        path = path[0] if isinstance(path, tuple) else path
        if path:
            self.setCurrentPath(path)


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider beside a number."""

    __stand_in__ = True
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    SIGNATURES = {"valueChanged": ("valueChanged(double)",), "valueIsChanging": ("valueIsChanging(double)",)}
    STEPS = 1000

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._slider, self._box = QtWidgets.QSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        self._slider.setRange(0, self.STEPS)
        self._box.setMaximum(100.0)
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._slider)
        box.addWidget(self._box)
        self._slider.valueChanged.connect(self._fromSlider)
        self._box.valueChanged.connect(self._fromBox)

    def _fromSlider(self, step: int) -> None:
        span = self._box.maximum - self._box.minimum
        self._box.setValue(self._box.minimum + span * step / self.STEPS)

    def _fromBox(self, value: float) -> None:
        span = (self._box.maximum - self._box.minimum) or 1.0
        self._slider.blockSignals(True)
        self._slider.setValue(round((value - self._box.minimum) / span * self.STEPS))
        self._slider.blockSignals(False)
        self.valueIsChanging.emit(value)
        self.valueChanged.emit(value)

    def _get(name: str) -> object:
        return lambda self: getattr(self._box, name)

    def _set(name: str) -> object:
        return lambda self, value: setattr(self._box, name, value)

    value = Property(float, _get("value"), _set("value"))
    minimum = Property(float, _get("minimum"), _set("minimum"))
    maximum = Property(float, _get("maximum"), _set("maximum"))
    singleStep = Property(float, _get("singleStep"), _set("singleStep"))
    decimals = Property(int, _get("decimals"), _set("decimals"))
    prefix = Property(str, _get("prefix"), _set("prefix"))
    suffix = Property(str, _get("suffix"), _set("suffix"))
    tracking = Property(bool, lambda self: True, lambda self, value: None)
    pageStep = Property(float, lambda self: 1.0, lambda self, value: None)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        self._box.setRange(low, high)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a default text."""

    __stand_in__ = True


class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    __stand_in__ = True

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)

    def sizeHint(self) -> QtCore.QSize:
        return QtCore.QSize(200, int(self.document.size().height()) + 8)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that holds a folder."""

    __stand_in__ = True
    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    SIGNATURES = {name: (f"{name}(QString)",) for name in ("directoryChanged", "directorySelected")}

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._button = QtWidgets.QPushButton()
        box = QtWidgets.QHBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self._button)

    def getDirectory(self) -> str:
        return self._button.text

    def setDirectory(self, folder: str) -> None:
        if folder != self._button.text:
            self._button.setText(folder)
            self.directoryChanged.emit(folder)

    directory = Property(str, getDirectory, setDirectory)


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that can be told not to come back."""

    __stand_in__ = True
    dontShowAgainSettingsKey = Property(str, lambda self: "", lambda self, key: None)
    dontShowAgainVisible = Property(bool, lambda self: False, lambda self, shown: None)


class ctkWidgetsUtils:
    """Pictures of widgets."""

    @staticmethod
    def grabWidget(widget: QtWidgets.QWidget) -> QtGui.QImage:
        return widget.grab().toImage()


WIDGETS = (
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkPathLineEdit,
    ctkSliderWidget,
    ctkComboBox,
    ctkFittedTextBrowser,
    ctkDirectoryButton,
)
