"""The pixel spacing of an X-ray whose file does not say it: from the film's size, or from two points on a ruler in it.

Spacing is that on the detector. What is measured on a ruler counts for where the ruler lay: on the film, or beside it.
"""

import math

import qt
from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Numbers import askLength

FILMS_CM = ((35, 43), (43, 43), (30, 40), (24, 30), (18, 24))
"""Shorter and longer side of the usual films and detectors."""
ALIKE, FITTING = 0.02, 0.05
"""By which an image's shape may differ from a film's: within the first as detectors of that name do; up to the second with a
caution; more, and something was cut off."""


def shapeError(rows: int, cols: int, filmCm: tuple[float, float]) -> float:
    """By which part an image's ratio of sides differs from a film's."""
    ratio, expected = max(rows, cols) / min(rows, cols), max(filmCm) / min(filmCm)
    return abs(ratio / expected - 1.0)


def spacingOfFilm(rows: int, cols: int, filmCm: tuple[float, float]) -> float:
    """Spacing in mm of an image that shows a whole film.

    Raises:
        ValueError: the image has another shape.
    """
    if shapeError(rows, cols, filmCm) > FITTING:
        raise ValueError(
            _("The image is {cols} × {rows} pixels, which is not the shape of a film of {one} × {other} cm.").format(
                rows=rows, cols=cols, one=filmCm[0], other=filmCm[1]
            )
        )
    return 10.0 * math.sqrt(filmCm[0] * filmCm[1] / (rows * cols))


def spacingOfRuler(one: tuple[float, float], other: tuple[float, float], lengthMm: float) -> float:
    """Spacing in mm by two points (column, row) that are known to lie this far apart.

    Raises:
        ValueError: they are nearly the same point.
    """
    pixels = math.dist(one, other)
    if pixels < 5.0:
        raise ValueError(_("The two points lie too close together; choose them as far apart as the ruler allows."))
    return lengthMm / pixels


def checkEdges(rows: int, cols: int, spacingMm: float) -> None:
    """Refuse a spacing with which the image would be no X-ray.

    Raises:
        ValueError: an edge of it would be too short or too long.
    """
    ensureCore()
    from clsdm.plausible import PLAUSIBLE

    allowed = PLAUSIBLE["panel_mm"]
    if not all(count * spacingMm in allowed for count in (rows, cols)):
        raise ValueError(
            _(
                "The image would be {width:.4g} × {height:.4g} mm; edges of {range} are expected. Which unit is meant?"
            ).format(width=cols * spacingMm, height=rows * spacingMm, range=allowed)
        )


class SpacingHelp(qt.QObject):
    """The menu of a slot's button "Find…", and the two clicks on its picture.

    Attributes:
        prompt: what is to be clicked while a ruler is measured, else "".

    Args:
        button: gets the menu.
        picture: label that shows the image, fitted and centred.
        sizeOf: gives (rows, columns) of the image, or None.
        shownOf: the same of the image that the label shows as it is stored, None while it shows something else.
        showStored: has the label show that one.
        found: takes the spacing in mm.
        say: takes a sentence and its tone; "" when a ruler is measured no longer.
    """

    def __init__(self, button, picture, sizeOf, shownOf, showStored, found, say) -> None:
        super().__init__()
        self._button, self._picture, self._sizeOf, self._found, self._say = button, picture, sizeOf, found, say
        self._shownOf, self._showStored = shownOf, showStored
        self._points: list | None = None
        self._question: object | None = None  # the one that stands there
        self.prompt = ""
        self._menu = qt.QMenu(button)
        for film in FILMS_CM:
            text = _("The whole film or detector, {one} × {other} cm").format(one=film[0], other=film[1])
            self._menu.addAction(text).connect("triggered()", lambda film=film: self.byFilm(film))
        self._menu.addAction(_("The width of the film…")).connect("triggered()", self.askWidth)
        self._menu.addAction(_("Two points on a ruler in the picture…")).connect("triggered()", self.startRuler)
        button.setMenu(self._menu)
        picture.installEventFilter(self)

    def byFilm(self, filmCm: tuple[float, float]) -> None:
        """The image is a whole film of this size."""
        self.stop()
        size = self._sizeOf()
        if size is not None and self._try(lambda: spacingOfFilm(*size, filmCm)):
            error = shapeError(*size, filmCm)
            if error > ALIKE:
                self._say(
                    _(
                        "The image's shape is {part:.1%} off that of this film: its edge was cut, its pixels are not square, or "
                        "it is another film. Check the spacing."
                    ).format(part=error),
                    "caution",
                )

    def askWidth(self) -> None:
        """Ask how wide the image is on the film."""
        self.stop()
        size = self._sizeOf()
        if size is not None:
            question = _("Width of what the image shows, in cm, measured on the film:")
            self._ask(question, "35", "cm", lambda mm: mm / size[1], size)

    def startRuler(self) -> None:
        """The next two clicks on the picture are points of a ruler."""
        self._points = []
        self._prompt(_("Click on two points of a ruler or scale in the picture."))
        if self._shownOf() is None:
            self._showStored()

    @property
    def isMeasuring(self) -> bool:
        """Whether a ruler is being measured."""
        return self._points is not None

    def stop(self) -> None:
        """Measure no longer, and take no answer to a question, as for another image."""
        self._question = None
        if self._points is not None:
            self._points, self.prompt = None, ""
            self._say("", "info")

    def _prompt(self, text: str) -> None:
        self.prompt = text
        self._say(text, "info")

    def eventFilter(self, watched, event) -> bool:
        """Qt calls this for every event of the picture."""
        if self._points is None or event.type() != qt.QEvent.MouseButtonPress:
            return False
        at = event.pos()
        self.click(at.x(), at.y())
        return True

    def click(self, x: float, y: float) -> None:
        """A click at this place of the picture's label."""
        point = self._inImage(x, y)
        if self._points is None or point is None:
            return
        if not self._points:
            self._points = [point]
            self._prompt(_("Now the second point."))
        else:
            self._measure(self._points[0], point)

    def _measure(self, one: tuple[float, float], other: tuple[float, float]) -> None:
        """Ask for the distance of two points; the second is clicked again where it is too near."""
        size = self._shownOf()
        try:
            perMm = spacingOfRuler(one, other, 1.0)
        except ValueError as error:
            self._prompt(str(error))
            return
        self._ask(_("Distance between the two points, in mm:"), "100", "mm", lambda mm: mm * perMm, size)
        self.stop()

    def _inImage(self, x: float, y: float) -> tuple[float, float] | None:
        """(column, row) of the image under a point of the label, which shows it fitted and centred."""
        size, shown = self._shownOf(), self._picture.pixmap
        if size is None or shown is None or shown.isNull():
            return None
        left, top = (self._picture.width - shown.width()) / 2, (self._picture.height - shown.height()) / 2
        across, down = (x - left) / shown.width(), (y - top) / shown.height()
        return (across * size[1], down * size[0]) if 0 <= across <= 1 and 0 <= down <= 1 else None

    def _ask(self, question: str, text: str, unit: str, spacingOf, size: tuple[int, int]) -> None:
        """Ask for a length, and take the spacing that follows, unless the image became another meanwhile."""
        asked = self._question = object()
        title = _("Pixel spacing")
        mm = askLength(self._button, title, question, text, unit, lambda mm: checkEdges(*size, spacingOf(mm)))
        if mm is not None and self._question is asked:
            self.stop()
            self._found(spacingOf(mm))

    def _try(self, spacing) -> bool:
        """Whether there is a spacing, which is taken."""
        try:
            self._found(spacing())
        except ValueError as error:
            self._say(str(error), "error")
            return False
        return True
