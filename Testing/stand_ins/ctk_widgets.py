"""The CTK widgets that the module uses, with their properties and signals (read in commontk/CTK, Libs/Widgets)."""

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
        self._text, self._collapsed = title, False
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

    text = Property(str, getText, setText)
    collapsed = Property(bool, getCollapsed, setCollapsed, notify=contentsCollapsed)

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

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setRange(self, low: float, high: float) -> None:
        self._box.setRange(low, high)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box that can elide its text."""

    __stand_in__ = True

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self._elide = 3  # Qt::ElideNone

    elideMode = Property(int, lambda self: self._elide, lambda self, mode: setattr(self, "_elide", mode))

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QtWidgets.QStyle.CC_ComboBox, option)
        style = self.style()
        area = style.subControlRect(QtWidgets.QStyle.CC_ComboBox, option, QtWidgets.QStyle.SC_ComboBoxEditField, self)
        mode = QtCore.Qt.TextElideMode(self._elide)
        option.currentText = option.fontMetrics.elidedText(option.currentText, mode, area.width() - 4)
        painter.drawControl(QtWidgets.QStyle.CE_ComboBoxLabel, option)


WIDGETS = (ctkCollapsibleButton, ctkComboBox, ctkSliderWidget)
