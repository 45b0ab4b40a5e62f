"""The files of a scoring: every case's figures, a table with intervals, and a picture of each case."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from clsdm import NOTICE
from clsdm.files.atomic import written_together
from clsdm.quality.picture import DIFFERENCE_PAINTER, HU_PAINTER, centre_index, planes
from clsdm.reconstruction import Product
from clsdm_bench.lines import summaries, write_lines
from clsdm_bench.measures.covered import Pair
from clsdm_bench.measures.distribution import SetDistance
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.exposures import CONDITIONS
from clsdm_trainer.figures import Column, figures_section, figures_table
from clsdm_trainer.files import write_json, write_text


@dataclass(frozen=True)
class Scored:
    """The figures of one reconstruction."""

    scan: ScanFile
    condition: str
    product: Product
    figures: dict[str, float | None]


COLUMNS = (
    Column("psnr_db", "PSNR dB", 2),
    Column("psnr_body_db", "PSNR body dB", 2),
    Column("lung_dice", "lung Dice", 3),
    Column("lung_absolute_error", "lung volume, absolute error %", 1, 100.0),
    Column("lung_error", "lung volume, error %", 1, 100.0),
    Column("mae_hu", "MAE HU", 1),
    Column("residual", "residual, % of contrast", 1, 100.0),
    Column("detail_hu", "distance of detail, HU", 1),
)


def write_tables(
    found: Sequence[Scored], distances: Mapping[tuple[str, Product], SetDistance], out: Path, about: dict[str, Any]
) -> None:
    """``cases.csv``, ``results.json``, which ``clsdm-train export --results`` reads, and ``table.md``.

    Raises:
        InputError: a file cannot be written.
    """
    lines = [
        {"group": each.scan.group, "case": each.scan.name, "seen": each.scan.seen, "condition": each.condition}
        | {"product": each.product, **each.figures}
        for each in found
    ]
    write_lines(lines, out / "cases.csv")
    spacing = f"voxels of {about['spacing_mm']:g} mm where the scan covers"
    results = {
        "about": about,
        "protocol": f"X-rays of the scans as `clsdm project` writes them; {spacing}, truth averaged over each, data range 2500 "
        "HU; lungs are below -500 HU within the body; distance of detail from true CTs",
        "columns": [asdict(column) for column in COLUMNS],
        "methods": methods_of(found, distances),
    }
    write_json(out / "results.json", results)
    seen = dict.fromkeys(scored.scan.name for scored in found if scored.scan.seen)
    warning = f"**Seen by the model in training or selection: {', '.join(seen)}.**\n\n" if seen else ""
    write_text(out / "table.md", warning + figures_section(results))


SHORT_COLUMNS = ("psnr_db", "psnr_body_db", "lung_dice", "lung_absolute_error", "mae_hu")
SHORT_ROWS = ("mean", "sample", *(f"mean, {CONDITIONS[each].text}" for each in ("frontal", "shuffled")))
"""Columns and rows that the README shows."""


def published(results: Mapping[str, Any]) -> dict[str, str]:
    """The table of ``results.json`` by the name of its marks in a page: whole, and what the README shows of it."""
    methods, groups = results["methods"], {name.partition(": ")[0] for name in results["methods"]}
    if len(groups) == 1:
        methods = {name.partition(": ")[2]: row for name, row in methods.items()}
    short = {name: row for name, row in methods.items() if name.rpartition(": ")[2] in SHORT_ROWS}
    columns = [column for column in results["columns"] if column["key"] in SHORT_COLUMNS]
    return {
        "score": figures_table({**results, "methods": methods}),
        "score-short": figures_table({"columns": columns, "methods": short}),
    }


def methods_of(
    found: Sequence[Scored], distances: Mapping[tuple[str, Product], SetDistance]
) -> dict[str, dict[str, Any]]:
    """Summaries of the figures of each group, product and condition."""
    rows: dict[tuple[str, str, Product], list[Scored]] = {}
    for scored in found:
        rows.setdefault((scored.scan.group, scored.condition, scored.product), []).append(scored)
    methods = {}
    for (group, condition, product), each in rows.items():
        name = f"{group} ({len(each)}): {product}" + ("" if condition == "plain" else f", {CONDITIONS[condition].text}")
        methods[name] = summaries([scored.figures for scored in each])
        if condition == "plain":  # without the bias of the set's size: what each case adds to its distance
            methods[name] |= summaries([asdict(share) for share in distances[group, product].shares])
    return methods


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
    index = centre_index(first.body)
    figure = Figure(figsize=(12.0, 0.6 + 2.1 * (1 + len(pairs))), layout="constrained")
    figure.suptitle(f"{title}: {NOTICE}")
    axes = figure.subplots(1 + len(pairs), 6, squeeze=False)
    for place in axes.flat:
        place.set_axis_off()
    _show(axes[0, :3], {f"true, {name}": HU_PAINTER(image) for name, image in planes(first.truth.hu, index).items()})
    _show(
        axes[0, 3:],
        {file.stem: sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in sorted(xrays.glob("*.png"))},
    )
    for line, (product, pair) in zip(axes[1:], pairs.items(), strict=True):
        _show(line, {f"{product}, {name}": HU_PAINTER(image) for name, image in planes(pair.recon.hu, index).items()})
        difference = planes(np.where(pair.covered, pair.recon.hu - pair.truth.hu, np.nan), index)
        _show(
            line[3:], {f"{name}, minus true ±500 HU": DIFFERENCE_PAINTER(image) for name, image in difference.items()}
        )
    with written_together(path.parent) as scratch:
        FigureCanvasAgg(figure).print_png(scratch / path.name)


def _show(line: np.ndarray, images: Mapping[str, np.ndarray]) -> None:
    """Images under their titles, from the left; ``line`` holds axes of matplotlib."""
    for place, (title, image) in zip(line, images.items(), strict=False):
        place.imshow(image, cmap="gray", interpolation="nearest")
        place.set_title(title, fontsize=8)
