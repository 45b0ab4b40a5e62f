"""The fields of an X-ray's geometry: an editor each, and a badge that says where the value is from.

A badge reads "tag" (the file says so), "default" (the preset does), "entered" (a click takes the entry back) or "?"
(nobody knows; it must be entered).
"""

import qt
import slicer
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.Numbers import DecimalComma

BADGE_COLOURS = {"tag": "#2e8b57", "default": "#b8860b", "entered": "#3d7fc4", "?": "#d04437"}
MOST = 99999.0
"""More than any field can be, since Qt drops a digit that leads beyond; what cannot be, the core says of it."""


class GeometryFields:
    """Editors for ``Inputs.FIELDS``. ``onEntered(name, value)`` is called when the user changes one, value None to undo."""

    def __init__(self, layout, onEntered) -> None:
        self._onEntered, self._updating = onEntered, False
        self._layout, self._rows, self._commas = layout, [], []
        self.badges: dict[str, object] = {}
        self.frame = self._number("frame", _("Image"), (0.0, MOST), 0, "", _("Which image of the file, from 1"))
        self.frame.specialValueText, self.frame.singleStep = _("enter…"), 1.0
        self.angle = self._number("angleDeg", _("Angle"), (-MOST, MOST), 1, "°", self._angleTip())
        self.spacing = self._number("spacingMm", _("Pixel, mm"), (0.0, MOST), 4, "", self._spacingTip())
        self.spacing.specialValueText = _("enter…")
        self._spacingTyped, self._spacingIsSquare = False, True
        self.spacing.connect("editingFinished()", self._onSpacingFinished)
        slicer.util.findChild(self.spacing, "qt_spinbox_lineedit").connect("textEdited(QString)", self._onSpacingTyped)
        self.detector = self._number(
            "sourceDetectorMm",
            _("To detector"),
            (0.0, MOST),
            0,
            _(" mm"),
            _("Distance from the X-ray source to the detector (SID)"),
        )
        self.axis = self._number(
            "sourceAxisMm",
            _("To patient"),
            (0.0, MOST),
            0,
            _(" mm"),
            _("Distance from the X-ray source to the middle of the patient (SOD)"),
        )
        self.rotate = self._choice("rotateQuarters", _("Turn"), [("0°", 0), ("90° ↺", 1), ("180°", 2), ("90° ↻", 3)])
        self.flip = self._choice("flip", _("Mirror"), [(_("no"), False), (_("left ↔ right"), True)])
        self.invert = self._choice("invert", _("Bone"), [(_("bright"), False), (_("dark"), True)])
        self.window = self._windowEditors()
        layout.setColumnStretch(1, 1)

    @staticmethod
    def _angleTip() -> str:
        return _(
            "From where the X-ray was taken: 0 from behind (PA), 180 from the front (AP), 90 with the left side at the detector"
        )

    @staticmethod
    def _spacingTip() -> str:
        return _("Size of a pixel on the detector. It is never guessed: a wrong one would scale the patient.")

    # --- building ---

    def _row(self, name: str, label: str, editor, tip: str) -> None:
        row = len(self._rows)
        caption, badge = qt.QLabel(label), qt.QToolButton()
        caption.toolTip = editor.toolTip = tip
        badge.autoRaise = True
        badge.name = f"{name}Badge"
        badge.connect("clicked()", lambda name=name: self._enter(name, None))
        for column, widget in enumerate((caption, editor, badge)):
            self._layout.addWidget(widget, row, column)
        self._rows.append((caption, editor))
        self.badges[name] = badge

    def _number(self, name: str, label: str, span: tuple, decimals: int, unit: str, tip: str):
        box = qt.QDoubleSpinBox()
        box.name = name
        box.setRange(*span)
        box.decimals, box.suffix, box.keyboardTracking = decimals, unit, False
        box.singleStep = 10.0 ** -min(decimals, 2) if decimals else 10.0
        box.setButtonSymbols(qt.QAbstractSpinBox.NoButtons)  # their room is the number's
        box.minimumWidth = 40
        box.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        box.connect("valueChanged(double)", lambda value, name=name: self._onNumber(name, value))
        self._commas.append(DecimalComma(box))
        self._row(name, label, box, tip)
        return box

    def _choice(self, name: str, label: str, items: list):
        box = qt.QComboBox()
        box.name = name
        for text, _value in items:
            box.addItem(text)
        box.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
        values = [value for _text, value in items]
        box.connect("currentIndexChanged(int)", lambda index, name=name: self._enter(name, values[index]))
        self._row(name, label, box, "")
        return box, values

    def _windowEditors(self):
        frame = qt.QWidget()
        layout = qt.QHBoxLayout(frame)
        layout.setContentsMargins(0, 0, 0, 0)
        boxes = []
        for end in ("low", "high"):
            box = qt.QDoubleSpinBox()
            box.name = f"window_{end}"
            box.setRange(-1e7, 1e7)
            box.decimals, box.keyboardTracking, box.minimumWidth = 0, False, 30
            box.specialValueText = _("all")
            box.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)
            box.setButtonSymbols(qt.QAbstractSpinBox.NoButtons)
            box.connect("valueChanged(double)", lambda *_args: self._onWindow())
            self._commas.append(DecimalComma(box))
            layout.addWidget(box)
            boxes.append(box)
        self._row("window", _("Window"), frame, _("Values of the file beyond which nothing is told apart"))
        return boxes

    # --- from the user ---

    def _onNumber(self, name: str, value: float) -> None:
        if name == "spacingMm":
            self._enter(name, (value, value) if value > 0 else None)
        elif name == "frame":
            self._enter(name, int(value) or None)
        else:
            self._enter(name, value)

    def _onSpacingTyped(self, *_text) -> None:
        self._spacingTyped = True

    def _onSpacingFinished(self) -> None:
        """The number of the rows typed anew is no new value to the box, but one to make the pixels square with."""
        typed, self._spacingTyped = self._spacingTyped, False
        if typed and not self._spacingIsSquare:
            self._onNumber("spacingMm", self.spacing.value)

    def _onWindow(self) -> None:
        low, high = (box.value for box in self.window)
        if high > low > self.window[0].minimum:
            self._enter("window", (low, high))

    def _enter(self, name: str, value) -> None:
        if not self._updating:
            self._onEntered(name, value)

    # --- from the panel ---

    def show(self, facts) -> None:
        """Show what is known about an X-ray; None: there is none."""
        self._updating = True
        for caption, editor in self._rows:
            caption.enabled = editor.enabled = facts is not None
        for widget in (*self._rows[0], self.badges["frame"]):
            widget.visible = facts is not None and "frame" in facts.fields
        for name, badge in self.badges.items():
            field = facts.fields.get(name) if facts is not None else None
            self._showBadge(badge, field, needed=name in ("angleDeg", "spacingMm", "frame"))
            self._showValue(name, None if field is None else field.value)
        self._updating = False

    @staticmethod
    def _showBadge(badge, field, *, needed: bool) -> None:
        origin = "" if field is None else field.origin
        if field is not None and field.value is None:
            origin = "?" if needed else ""
        badge.text = {"tag": _("tag"), "default": _("default"), "entered": _("entered ✕"), "?": "?"}.get(origin, "")
        badge.enabled = origin == "entered"
        badge.setStyleSheet(f"QToolButton {{ border: none; color: {BADGE_COLOURS.get(origin, '#808080')}; }}")
        badge.toolTip = {
            "tag": _("The file says so"),
            "default": _("The geometry preset says so; the file does not"),
            "entered": _("You entered this; click to take it back"),
            "?": _("Unknown; please enter it"),
        }.get(origin, "")

    def _showValue(self, name: str, value) -> None:
        if name == "window":
            for box, end in zip(self.window, value or (box.minimum for box in self.window), strict=True):
                box.value = end
        elif name in ("rotateQuarters", "flip", "invert"):
            box, values = {"rotateQuarters": self.rotate, "flip": self.flip, "invert": self.invert}[name]
            box.currentIndex = values.index(value) if value in values else 0
        elif name == "spacingMm":
            self._showSpacing(value)
        else:
            boxes = {"angleDeg": self.angle, "sourceDetectorMm": self.detector, "sourceAxisMm": self.axis}
            box = (boxes | {"frame": self.frame})[name]
            box.value = 0.0 if value is None else value

    def _showSpacing(self, value) -> None:
        """(row, column) in mm; both where they differ. What is typed then holds for both."""
        row, col = value or (0.0, 0.0)
        self._spacingIsSquare = row == col
        self.spacing.value = row
        self.spacing.suffix = "" if row == col else f" × {col:.4f}"
        self.spacing.toolTip = self._spacingTip()
        if row != col:
            self.spacing.toolTip = _(
                "{row:g} mm between rows, {col:g} mm between columns. One number typed here makes the pixels square."
            ).format(row=row, col=col)
