"""A comparison as one HTML page that a clinician can read: pictures, figures and how they came about.

The page is a single file: pictures are inside it, nothing is fetched, and its content policy forbids fetching. Every
string that comes from outside (file names, provenance) is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from clsdm.geometry.directions import image_axes, letters_of
from clsdm.geometry.view import view_name
from clsdm.quality import picture, quantities
from clsdm.quality.agreement import Reprojection
from clsdm.quality.comparison import PROTOCOLS, Comparison, Scores
from clsdm.quality.made import made_rows, view_rows, views_of
from clsdm.quality.page import page
from clsdm.quality.picture import Row, Tile
from clsdm.volume.body import body_without_cavities

if TYPE_CHECKING:
    from clsdm.quality.metrics import Metrics

_LABELS = {
    "psnr_3d_db": ("PSNR, whole cube", "dB", 2),
    "ssim_3d": ("SSIM, whole cube", "", 3),
    "mae_hu": ("Mean absolute error, whole cube", "HU", 1),
    "rmse_hu": ("Root mean square error, whole cube", "HU", 1),
    "psnr_body_db": ("PSNR, inside the body", "dB", 2),
    "ssim_body": ("SSIM, inside the body", "", 3),
    "mae_body_hu": ("Mean absolute error, inside the body", "HU", 1),
    "body_fraction": ("Share of the cube that is body", "", 3),
    "mae_lung_hu": ("Mean absolute error, lung (-950 to -500 HU)", "HU", 1),
    "mae_soft_tissue_hu": ("Mean absolute error, soft tissue (-200 to 200 HU)", "HU", 1),
    "mae_bone_hu": ("Mean absolute error, bone (above 300 HU)", "HU", 1),
    "psnr_slices_db": ("PSNR, mean over slices of all three planes", "dB", 2),
    "ssim_slices": ("SSIM, mean over slices of all three planes", "", 3),
} | {
    f"{name}_{plane}{unit and '_db'}": (f"{name.upper()}, {plane} slices", unit, digits)
    for name, unit, digits in (("psnr", "dB", 2), ("ssim", "", 3))
    for plane in ("axial", "coronal", "sagittal")
}
"""Key of a figure -> what it is called, its unit, and decimals."""

_HEADLINE_CUBE = {"PSNR": "psnr_3d_db", "SSIM": "ssim_3d", "mean absolute error": "mae_hu"}
_HEADLINE_BODY = {"PSNR": "psnr_body_db", "SSIM": "ssim_body", "mean absolute error": "mae_body_hu"}

_DIFFERENCE = f"blue -{picture.DIFFERENCE_LIMIT_HU:.0f} HU, white 0, red +{picture.DIFFERENCE_LIMIT_HU:.0f} HU"
_PROJECTION_PAINTER = picture.Painter(-1.1, 1.1)
_PROJECTION_DIFFERENCE = picture.Painter(-1.0, 1.0, diverging=True)


def rows_of(comparison: Comparison) -> list[Row]:
    """The picture rows: truth, reconstruction, difference (three planes each), then one row for each X-ray."""
    recon, scores = comparison.recon, comparison.scores
    index = picture.centre_index(body_without_cavities(recon.hu) if scores is None else scores.body)

    def tiles(values: np.ndarray, paint: picture.Painter) -> tuple[Tile, ...]:
        return picture.plane_tiles(values, recon.spacing_mm, index, paint)

    low, high = picture.WINDOW_SHOWN_HU
    note = f"The volume made from the X-rays; shown from {low:.0f} to {high:.0f} HU."
    rows = [Row("Reconstruction", tiles(recon.hu, picture.HU_PAINTER), note, picture.HU_PAINTER)]
    if scores is not None:
        difference = np.where(scores.seen, recon.hu - scores.truth.hu, np.nan)
        note = "The CT scan on the reconstruction's voxels, in the same window."
        rows.insert(0, Row("Truth", tiles(scores.truth.hu, picture.HU_PAINTER), note, picture.HU_PAINTER))
        rows.append(
            Row(
                f"Difference: {_DIFFERENCE}",
                tiles(difference, picture.DIFFERENCE_PAINTER),
                "Reconstruction minus truth. Red is too dense, blue not dense enough; grey was not scanned.",
                picture.DIFFERENCE_PAINTER,
            )
        )
    for part in comparison.parts:
        paint = picture.DIFFERENCE_PAINTER if part.signed else picture.HU_PAINTER
        rows.append(Row(part.title, tiles(part.hu, paint), part.legend, paint))
    return rows + [_projection_row(number, item) for number, item in enumerate(comparison.reprojections, start=1)]


def _projection_row(number: int, item: Reprojection) -> Row:
    parts = (
        ("input X-ray", item.xray, _PROJECTION_PAINTER),
        ("reprojected", item.reprojected, _PROJECTION_PAINTER),
        ("difference", item.difference, _PROJECTION_DIFFERENCE),
    )
    box = tuple(slice(hit.min(), hit.max() + 1) for hit in np.nonzero(np.isfinite(item.xray)))
    scale = picture.TILE_PIXELS / max(part.stop - part.start for part in box)
    edges = _projection_edges(item.angle_deg)
    made = []
    for name, image, paint in parts:
        rgb = picture.centred(paint(picture.resized(image[box], (1.0, 1.0), scale)), picture.TILE_PIXELS)
        made.append(Tile(name, picture.marked(rgb, edges)))
    agreement = item.agreement
    residual = f"{agreement.verdict}, residual {agreement.contrast_fraction:.1%} of contrast"
    title = f"X-ray {number}, {view_name(item.angle_deg)}: {residual}"
    return Row(title, tuple(made), str(agreement))


def _projection_edges(angle_deg: float) -> str:
    """Letters for the sides of an image, whose columns run along (cos, sin) of the angle to (left, posterior)."""
    right, _ = image_axes(angle_deg, 0.0)
    if np.abs(right).max() <= 0.9:
        return "  SI"
    return letters_of(-right)[0] + letters_of(right)[0] + "SI"


def headline(comparison: Comparison) -> list[str]:
    """The main figures in a line of plain text, for the picture."""
    if comparison.scores is None:
        checked = "the only check is the reprojection" if comparison.reprojections else "nothing could be checked"
        return [f"No truth given: {checked}"]
    figures = comparison.scores.honest
    cube = ", ".join(f"{name} {_figure(figures, key)}" for name, key in _HEADLINE_CUBE.items())
    body = ", ".join(f"{name} {_figure(figures, key)}" for name, key in _HEADLINE_BODY.items())
    return [f"Honest protocol, whole cube: {cube}", f"Honest protocol, in the body: {body}"]


def alarm(comparison: Comparison) -> list[str]:
    """What must stand on the picture, which travels alone: that the volume is not to be trusted; empty where nothing says so."""
    seen = enumerate(comparison.reprojections, 1)
    bad = [f"{number} ({view_name(item.angle_deg)})" for number, item in seen if item.agreement.disagrees]
    return [f"Do not trust this volume: it disagrees with X-ray {' and '.join(bad)}"] if bad else []


def _figure(figures: Metrics, key: str) -> str:
    """One figure with its unit."""
    value, (_, unit, digits) = figures[key], _LABELS[key]
    if value is None:
        similarity = key.replace("psnr", "ssim").removesuffix("_db")
        return (
            "infinite (no error)" if similarity != key and figures.get(similarity, 1.0) is not None else "not defined"
        )
    return f"{value:.{digits}f} {unit}".strip()


def html(comparison: Comparison, rows: Sequence[Row], provenance: Mapping[str, Any], title: str) -> str:
    """The page.

    Args:
        comparison: what to report.
        rows: its picture rows, from :func:`rows_of`.
        provenance: how the reconstruction was made (``made``).
        title: heading.

    Returns:
        The whole HTML document.
    """
    volumes = rows[: len(rows) - len(comparison.reprojections)]
    body = [
        *(f'<p class="warning">{escape(text)}</p>' for text in comparison.warnings),
        "<h2>Three planes through the middle of the body</h2>",
        "<p>Axial seen from the feet, coronal from the front, sagittal with the face to the left. "
        "Yellow letters: right, left, anterior, posterior, superior, inferior.</p>",
        *(_figure_row(row) for row in volumes),
        *_projection_section(rows[len(volumes) :]),
        *_measures_section(comparison),
        *_figures_section(comparison.scores),
        *_provenance_section(comparison, provenance),
    ]
    return page(title, body)


def _figure_row(row: Row) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(f"{row.title}, {tile.caption}")}" src="data:image/png;base64,'
        f'{base64.b64encode(picture.png_bytes(tile.rgb)).decode()}"><figcaption>{escape(tile.caption)}</figcaption></figure>'
        for tile in row.tiles
    )
    return f'<h3>{escape(row.title)}</h3><p>{escape(row.note)}</p><div class="row">{figures}</div>'


def _projection_section(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    return [
        "<h2>Input X-rays beside the reprojected reconstruction</h2>",
        f"<p>{_REPROJECTION_NOTE}</p>",
        *map(_figure_row, rows),
    ]


def _measures_section(comparison: Comparison) -> list[str]:
    true = None if comparison.true is None else comparison.true.values
    remark, rows = quantities.remarked_once(quantities.rows(comparison.measures, true))
    cells = [(row.label, row.value, row.interval, *((row.truth,) if true is not None else ())) for row in rows]
    gaps = [] if comparison.true is None else quantities.gaps(comparison.measures, comparison.true.reasons)
    heads = ("", "in the reconstruction", "interval, or why not", *(("in the CT",) if true is not None else ()))
    notes = [f"<p>{escape(text)}</p>" for text in (quantities.footnote(comparison.measures), *remark, *gaps) if text]
    doubts = [f'<p class="warning">{escape(text)}</p>' for text in quantities.before(comparison.measures)]
    return ["<h2>What was measured</h2>", *doubts, *notes, _table(cells, "", heads)]


def _figures_section(scores: Scores | None) -> list[str]:
    if scores is None:
        return ["<h2>Figures</h2><p>No true CT was given: how far the volume is from the patient is not known.</p>"]
    return [
        "<h2>Figures</h2>",
        "<p>Two protocols that must not be mixed. PSNR and SSIM: higher is better; errors in HU: lower is better.</p>",
        _protocol_table(scores.honest, PROTOCOLS["honest"]),
        _protocol_table(scores.x2ct, PROTOCOLS["x2ct"]),
    ]


def _protocol_table(figures: Metrics, note: str) -> str:
    caption = (
        f"Protocol <code>{escape(str(figures['protocol']))}</code>: data range {figures['data_range_hu']:.0f} HU, "
        f"peak {figures['peak_hu']:.0f} HU. {escape(note)}"
    )
    return _table(((_LABELS[key][0], _figure(figures, key)) for key in figures if key in _LABELS), caption)


def _provenance_section(comparison: Comparison, provenance: Mapping[str, Any]) -> list[str]:
    recon = comparison.recon
    voxels, spacing = (
        " x ".join(f"{value:g}" for value in values) for values in (recon.hu.shape[::-1], recon.spacing_mm)
    )
    entries = {"grid": f"{voxels} voxels of {spacing} mm (x, y, z)"} | dict(provenance)
    whole = ["<h2>How it was made</h2>", _table(made_rows(entries), "")]
    if not (views := views_of(entries)):
        return whole
    heads, shown = view_rows(views)
    return [*whole, "<h3>How its X-rays were taken</h3>", f"<p>{_ORIGINS_NOTE}</p>", _table(shown, "", heads)]


def _table(rows: Iterable[tuple[str, ...]], caption: str, heads: Sequence[str] = ()) -> str:
    """Columns of which the first names the row; ``caption`` is HTML, the cells are plain text."""
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(value)}</td>" for value in values)}</tr>'
        for name, *values in rows
    )
    return (
        f"<table>{caption and f'<caption>{caption}</caption>'}{top and f'<thead><tr>{top}</tr></thead>'}"
        f"<tbody>{cells}</tbody></table>"
    )


_ORIGINS_NOTE = (
    "In brackets where a value came from: the file, what was entered, or what was assumed because nobody said."
)
_REPROJECTION_NOTE = (
    "The reconstruction, projected as each X-ray was taken, should look like that X-ray. Agreement means that the "
    "volume is consistent with the X-rays, not that it is right: many different volumes give the same X-rays. White is "
    "more attenuation; grey was not measured, or its ray leaves the reconstructed cube through the top or bottom."
)
