"""Pictures of volumes and X-rays the way they are read, made with numpy, and text with Pillow.

Radiological orientation: an axial slice is seen from the feet (patient's right at the left, anterior up), a coronal one
from the front (right at the left, superior up), a sagittal one from the left (anterior at the left, superior up).
Volumes are indexed (z, y, x) with axes along LPS; pictures are (row, column, RGB) uint8.
"""

import tempfile
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from clsdm import NOTICE
from clsdm.files.png import write_png

WINDOW_SHOWN_HU = (-950.0, 550.0)
"""Width 1500, level -200: lung and soft tissue in one picture."""
DIFFERENCE_LIMIT_HU = 500.0
TILE_PIXELS = 320

_MARGIN, _LINE = 12, 22
_TEXT, _HEADING = 16, 22
_BAR, _BAR_TEXT = 18, 84
"""Pixels of a bar of colours, and of the numbers beside it."""
_SPELLED = str.maketrans({"×": "x", "²": "^2", "³": "^3"})
"""Characters that Pillow's own font lacks."""
_INK, _SHADE, _ALARM, _UNKNOWN = (235, 235, 235), (12, 12, 14), (255, 196, 60), (120, 120, 128)


@dataclass(frozen=True)
class Tile:
    """A square picture and what it shows."""

    caption: str
    rgb: np.ndarray


@dataclass(frozen=True)
class Painter:
    """Values to colours: grey from ``low`` to ``high``, or ``diverging`` blue, white, red; NaN is a flat grey-blue."""

    low: float
    high: float
    diverging: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(rows, cols) values -> (rows, cols, 3) uint8."""
        unit = ((image - self.low) / (self.high - self.low)).clip(0.0, 1.0)
        if self.diverging:
            unit = np.stack((2.0 * unit, 1.0 - np.abs(2.0 * unit - 1.0), 2.0 - 2.0 * unit), -1).clip(0.0, 1.0)
        else:
            unit = np.repeat(unit[..., None], 3, -1)
        known = np.isfinite(unit)
        return np.where(known, np.where(known, unit, 0.0) * 255.0 + 0.5, _UNKNOWN).astype(np.uint8)


@dataclass(frozen=True)
class Row:
    """Tiles side by side under a short title.

    Attributes:
        title: of the row.
        tiles: from left to right.
        note: a sentence for the report.
        paint: of the tiles' values in HU, drawn as a bar beside them; None for no bar.
    """

    title: str
    tiles: tuple[Tile, ...]
    note: str = ""
    paint: Painter | None = None


HU_PAINTER = Painter(*WINDOW_SHOWN_HU)
DIFFERENCE_PAINTER = Painter(-DIFFERENCE_LIMIT_HU, DIFFERENCE_LIMIT_HU, diverging=True)


def centre_index(body: np.ndarray) -> tuple[int, int, int]:
    """(z, y, x) index of the middle of the box around a mask, or of the volume where the mask is empty."""
    box = [np.flatnonzero(body.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    z, y, x = (
        int(hit[0] + hit[-1] + 1) // 2 if hit.size else size // 2 for hit, size in zip(box, body.shape, strict=True)
    )
    return z, y, x


def planes(volume: np.ndarray, index: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The axial, coronal and sagittal slices through ``index`` in radiological orientation.

    Args:
        volume: (z, y, x), axes along LPS.
        index: (z, y, x).

    Returns:
        Images (row, column) by the name of their plane.
    """
    z, y, x = index
    return {"axial": volume[z], "coronal": volume[::-1, y], "sagittal": volume[::-1, :, x]}


_EDGES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom


def plane_tiles(
    volume: np.ndarray, spacing_mm: Sequence[float], index: tuple[int, int, int], paint: Painter
) -> tuple[Tile, ...]:
    """Three planes at one scale, with letters for the patient's sides.

    Args:
        volume: (z, y, x), axes along LPS.
        spacing_mm: (x, y, z).
        index: (z, y, x) where the planes cross.
        paint: turns values into colours.

    Returns:
        Axial, coronal and sagittal tile.
    """
    x, y, z = spacing_mm
    pixel_mm = {"axial": (y, x), "coronal": (z, x), "sagittal": (z, y)}
    extent_mm = max(count * step for count, step in zip(volume.shape, (z, y, x), strict=True))
    tiles = []
    for name, image in planes(volume, index).items():
        rgb = paint(resized(image, pixel_mm[name], TILE_PIXELS / extent_mm))
        tiles.append(Tile(name, marked(centred(rgb, TILE_PIXELS), _EDGES[name])))
    return tuple(tiles)


def resized(image: np.ndarray, pixel_mm: tuple[float, float], pixels_per_mm: float) -> np.ndarray:
    """Bilinear interpolation of a (rows, cols) image to square pixels of ``1 / pixels_per_mm``."""
    image = image.astype(np.float64)
    for axis, step_mm in enumerate(pixel_mm):
        count = image.shape[axis]
        target = max(1, round(count * step_mm * pixels_per_mm))
        at = ((np.arange(target) + 0.5) * count / target - 0.5).clip(0, count - 1)
        low = np.floor(at).astype(int).clip(0, max(count - 2, 0))
        weight = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, count - 1)
        image = image.take(low, axis) * (1.0 - weight) + image.take(high, axis) * weight
    return image


def centred(rgb: np.ndarray, size: int) -> np.ndarray:
    """``rgb`` in the middle of a dark square of ``size``² pixels, cut where it is larger."""
    rgb = rgb[:size, :size]
    tile = np.full((size, size, 3), _SHADE, np.uint8)
    top, left = ((size - count) // 2 for count in rgb.shape[:2])
    tile[top : top + rgb.shape[0], left : left + rgb.shape[1]] = rgb
    return tile


def marked(rgb: np.ndarray, edges: str) -> np.ndarray:
    """``rgb`` with a letter at the left, right, top and bottom edge; a space leaves that edge alone."""
    rows, cols = rgb.shape[:2]
    places = ((rows // 2 - 7, 4), (rows // 2 - 7, cols - 14), (4, cols // 2 - 5), (rows - 18, cols // 2 - 5))
    for letter, (top, left) in zip(edges, places, strict=True):
        if letter == " ":
            continue
        rgb[top - 2 : top + 16, left - 2 : left + 12] = _SHADE
        write_text(rgb, letter, top - 3, left, colour=_ALARM)
    return rgb


def write_text(
    rgb: np.ndarray, text: str, top: int, left: int, *, colour: tuple[int, int, int] = _INK, size: int = _TEXT
) -> None:
    """Draw one line of text into ``rgb``, cut at the right edge."""
    from PIL import Image, ImageDraw

    line = rgb[max(top, 0) : top + 2 * size]  # a sheet has many lines
    page = Image.fromarray(np.ascontiguousarray(line))
    ImageDraw.Draw(page).text((left, min(top, 0)), _spelled(text), fill=colour, font=_font(size))
    line[:] = np.asarray(page)


def _spelled(text: str) -> str:
    """A text, which may be a name, in the letters that the font has: without accents, and ? for those of other scripts."""

    def plain(letter: str) -> str:
        if letter.isascii() or not letter.isalpha():
            return letter
        return unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode() or "?"

    return "".join(map(plain, text.translate(_SPELLED)))


@lru_cache
def _font(size: int) -> Any:  # noqa: ANN401 - one of Pillow's two kinds
    from PIL import ImageFont

    try:
        return ImageFont.load_default(size)
    except TypeError:  # before Pillow 10.1, in older versions of 3D Slicer
        return ImageFont.load_default()


def sheet(rows: Sequence[Row], heading: Sequence[str] = (), alarm: Sequence[str] = ()) -> np.ndarray:
    """All rows below one another, headed by the research notice and lines of text.

    Args:
        rows: at least one.
        heading: lines below the notice.
        alarm: lines above these, in the notice's colour.

    Returns:
        (rows, cols, 3) uint8.
    """
    columns = max(len(row.tiles) for row in rows)
    width = _MARGIN + columns * (TILE_PIXELS + _MARGIN) + (_BAR + _BAR_TEXT) * any(row.paint for row in rows)
    head = _MARGIN + (2 + len(alarm) + len(heading)) * _LINE
    step = 2 * _LINE + TILE_PIXELS + 2 * _MARGIN
    picture = np.full((head + len(rows) * step, width, 3), _SHADE, np.uint8)
    write_text(picture, NOTICE, _MARGIN - 4, _MARGIN, colour=_ALARM, size=_HEADING)
    for number, line in enumerate([*alarm, *heading]):
        colour = _ALARM if number < len(alarm) else _INK
        write_text(picture, line, _MARGIN + (number + 2) * _LINE - 8, _MARGIN, colour=colour)
    for number, row in enumerate(rows):
        _draw_row(picture[head + number * step :], row)
    return picture


def _draw_row(area: np.ndarray, row: Row) -> None:
    write_text(area, row.title, 0, _MARGIN)
    for number, tile in enumerate(row.tiles):
        left = _MARGIN + number * (TILE_PIXELS + _MARGIN)
        area[_LINE : _LINE + TILE_PIXELS, left : left + TILE_PIXELS] = tile.rgb
        write_text(area, tile.caption, _LINE + TILE_PIXELS + 4, left)
    if row.paint is not None:
        left = _MARGIN + len(row.tiles) * (TILE_PIXELS + _MARGIN)
        _draw_bar(area[_LINE : _LINE + TILE_PIXELS, left:], row.paint)


def _draw_bar(area: np.ndarray, paint: Painter) -> None:
    """The colours from the highest value down, with the highest, the middle and the lowest beside them."""
    rows = len(area)
    area[:, :_BAR] = paint(np.repeat(np.linspace(paint.high, paint.low, rows)[:, None], _BAR, 1))
    middle = (paint.high + paint.low) / 2
    for value, top in ((paint.high, 0), (middle, (rows - _TEXT) // 2), (paint.low, rows - _TEXT - 4)):
        write_text(area, f"{value:.0f} HU", top, _BAR + 6)


def png_bytes(rgb: np.ndarray) -> bytes:
    """(rows, cols, 3) uint8 as the content of a PNG file."""
    with tempfile.TemporaryDirectory(prefix="clsdm-") as folder:
        path = Path(folder) / "picture.png"
        write_png(rgb, path)
        return path.read_bytes()
