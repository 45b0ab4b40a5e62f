"""What a scoring leaves: every case's figures, a table with intervals, and a picture of each case."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm import NOTICE
from clsdm.files.atomic import write_atomically, written_together
from clsdm.quality.metrics import Summary, summarise
from clsdm.quality.picture import DIFFERENCE_PAINTER, HU_PAINTER, centre_index, planes
from clsdm.reconstruct import Product
from clsdm_bench.distribution import Distance
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.exposures import CONDITIONS
from clsdm_bench.score.figures import Pair
from clsdm_trainer.data.store import write_json, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Scored:
    """The figures of one reconstruction."""

    scan: ScanFile
    condition: str
    product: Product
    figures: dict[str, float | None]


@dataclass(frozen=True)
class Column:
    """A figure of the table: its key, how the head calls it, digits, and by what it is multiplied."""

    key: str
    head: str
    digits: int
    factor: float = 1.0


COLUMNS = (
    Column("psnr_db", "PSNR dB", 2),
    Column("psnr_body_db", "PSNR body dB", 2),
    Column("lung_dice", "lung Dice", 3),
    Column("lung_absolute_error", "lung volume, absolute error %", 1, 100.0),
    Column("lung_error", "lung volume, error %", 1, 100.0),
    Column("mae_hu", "MAE HU", 1),
    Column("residual", "residual, % of contrast", 1, 100.0),
)


def write_tables(
    found: Sequence[Scored], distances: Mapping[tuple[str, Product], Distance], out: Path, about: dict[str, Any]
) -> None:
    """``cases.csv``, ``results.json`` and ``table.md``.

    Raises:
        InputError: a file cannot be written.
    """
    write_atomically(out / "cases.csv", lambda path: _write_cases(found, path))
    rows = {
        f"{group}: {name}": {"cases": len(each)} | {key: asdict(value) for key, value in _summaries(each).items()}
        for (group, name), each in grouped(found).items()
    }
    sets = {f"{group}: {product}": asdict(distance) for (group, product), distance in distances.items()}
    write_json(out / "results.json", {"about": about, "rows": rows, "distances": sets})
    write_text(out / "table.md", table(found, distances, about))


def grouped(found: Sequence[Scored]) -> dict[tuple[str, str], list[Scored]]:
    """Figures by group, and product with condition."""
    groups: dict[tuple[str, str], list[Scored]] = {}
    for scored in found:
        name = (
            scored.product if scored.condition == "plain" else f"{scored.product}, {CONDITIONS[scored.condition].text}"
        )
        groups.setdefault((scored.scan.group, name), []).append(scored)
    return groups


def table(found: Sequence[Scored], distances: Mapping[tuple[str, Product], Distance], about: Mapping[str, Any]) -> str:
    """The figures as Markdown: mean over cases with its 95 % bootstrap interval."""
    lines = [
        f"Model `{about['model']}`; X-rays of the scans as `clsdm project --preset {about['geometry']}` writes them, frontal and "
        f"lateral; compared on voxels of {about['spacing_mm']:g} mm where the scan covers, data range 2500 HU; lungs are below "
        "-500 HU within the body. Mean over cases [95 % bootstrap interval].",
        "",
        *_seen(found),
        "| group | X-rays, product | cases | " + " | ".join(column.head for column in COLUMNS) + " |",
        "|" + "---|" * (len(COLUMNS) + 3),
    ]
    for (group, name), each in grouped(found).items():
        summaries = _summaries(each)
        cells = " | ".join(_cell(summaries.get(column.key), column) for column in COLUMNS)
        lines.append(f"| {group} | {name} | {len(each)} | {cells} |")
    lines += ["", "| group | product | distance of patches HU | of their detail HU |", "|---|---|---|---|"]
    for (group, product), distance in distances.items():
        lines.append(f"| {group} | {product} | {distance.patches_hu:.1f} | {distance.detail_hu:.1f} |")
    return "\n".join(lines) + "\n"


def _seen(found: Sequence[Scored]) -> list[str]:
    names = list(dict.fromkeys(scored.scan.name for scored in found if scored.scan.seen))
    return [f"**Seen by the model in training or selection: {', '.join(names)}.**", ""] if names else []


def _summaries(found: Sequence[Scored]) -> dict[str, Summary]:
    values = {key: [scored.figures.get(key) for scored in found] for key in found[0].figures}
    return {key: summarise(each) for key, each in values.items() if any(value is not None for value in each)}


def _cell(summary: Summary | None, column: Column) -> str:
    if summary is None:
        return "-"
    mean, low, high = (
        f"{value * column.factor:.{column.digits}f}" for value in (summary.mean, summary.low, summary.high)
    )
    return f"{mean} [{low}, {high}]"


def _write_cases(found: Sequence[Scored], path: Path) -> None:
    keys = list(dict.fromkeys(key for scored in found for key in scored.figures))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["group", "case", "seen", "condition", "product", *keys])
        for scored in found:
            scan = scored.scan
            figures = [scored.figures.get(key) for key in keys]
            writer.writerow([scan.group, scan.name, scan.seen, scored.condition, scored.product, *figures])


def write_picture(path: Path, title: str, pairs: Mapping[Product, Pair], xrays: Path) -> None:
    """The X-rays, the true planes through the middle of the body, and those of each product with their difference.

    Args:
        path: PNG file.
        title: of the picture.
        pairs: by product.
        xrays: folder with the previews of the X-rays.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    first = next(iter(pairs.values()))
    rows = [("true", first.truth.hu, HU_PAINTER)]
    for product, pair in pairs.items():
        difference = np.where(pair.covered, pair.recon.hu - pair.truth.hu, np.nan)
        rows += [(product, pair.recon.hu, HU_PAINTER), ("minus true, ±500 HU", difference, DIFFERENCE_PAINTER)]
    figure = Figure(figsize=(10.0, 0.6 + 2.0 * len(rows)), layout="constrained")
    figure.suptitle(f"{title}: {NOTICE}")
    axes = figure.subplots(len(rows), 5, squeeze=False)
    for line, (name, volume, paint) in zip(axes, rows, strict=True):
        for place, (plane, image) in zip(line, planes(volume, centre_index(first.body)).items(), strict=False):
            _show(place, paint(image), f"{name}, {plane}")
        for place in line[3:]:
            place.set_axis_off()
    for place, preview in zip(axes[0, 3:], sorted(xrays.glob("*.png")), strict=False):
        _show(place, sitk.GetArrayFromImage(sitk.ReadImage(str(preview))), preview.stem)
    with written_together(path.parent) as scratch:
        FigureCanvasAgg(figure).print_png(scratch / path.name)


def _show(place: Axes, image: np.ndarray, title: str) -> None:
    place.imshow(image, cmap="gray", interpolation="nearest")
    place.set_title(title, fontsize=7)
    place.set_axis_off()
