"""The order of a scoring. Files that are there already are not made again, so that a call that was cut can be repeated."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clsdm.app.record import read_record
from clsdm.app.request import Request
from clsdm.app.request import run as reconstruct_files
from clsdm.errors import InputError
from clsdm.files.digest import sha256_of
from clsdm.files.names import files_below
from clsdm.files.strict_json import read_json
from clsdm.limits import SERIES_FILES
from clsdm.model.bundle import Bundle
from clsdm.progress import Report, silent
from clsdm.reconstruction import Options, Product
from clsdm.volume.body import body_centre_mm
from clsdm.volume.ct import CTVolume, point
from clsdm.volume.read import read_ct
from clsdm_bench.measures.covered import Pair, figures_of, paired, resampled
from clsdm_bench.measures.distribution import sliced_wasserstein
from clsdm_bench.score import exposures, page
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.exposures import CONDITIONS
from clsdm_bench.score.page import Scored
from clsdm_trainer.files import write_json

SETTINGS = "settings.json"
ALL_PRODUCTS: tuple[Product, ...] = ("mean", "sample", "ensemble")


@dataclass(frozen=True)
class Settings:
    """How to score.

    Attributes:
        products: of the plain condition.
        conditions: names of ``exposures.CONDITIONS``; all but the plain one with the mean alone.
        preset: machine that takes the X-rays.
        spacing_mm: edge of the voxels on which volumes are compared.
        samples: of an ensemble.
        seed: of samples, noise and changes of X-rays.
        device: "auto", "cpu" or "cuda".
        steps: of each sample; the model's own if None.

    Raises:
        InputError: an unknown condition, or what no reconstruction can be made with.
    """

    products: tuple[Product, ...] = ALL_PRODUCTS
    conditions: tuple[str, ...] = tuple(CONDITIONS)
    preset: str = "chest"
    spacing_mm: float = 3.0
    samples: int = 8
    seed: int = 0
    device: str = "auto"
    steps: int | None = None

    def __post_init__(self) -> None:
        if unknown := [name for name in self.conditions if name not in CONDITIONS]:
            raise InputError(f"--conditions: expected some of {', '.join(CONDITIONS)}, got {unknown[0]!r}")
        for product in self.products:
            self.options(product)

    def options(self, product: Product) -> Options:
        """How a product is made.

        Raises:
            InputError: it cannot be; said before anything is begun.
        """
        return Options(product, self.steps, self.samples, self.seed, self.device)

    def runs(self) -> Iterator[tuple[str, Product]]:
        """Condition and product of each reconstruction of a case."""
        for condition in self.conditions:
            for product in self.products if condition == "plain" else ALL_PRODUCTS[:1]:
                yield condition, product


@dataclass(frozen=True)
class Scoring:
    """One bundle, its scans, and the folder in which everything is made."""

    bundle: Bundle
    scans: Sequence[ScanFile]
    out: Path
    settings: Settings

    def volume(self, scan: ScanFile, condition: str, product: Product) -> tuple[CTVolume, float]:
        """The volume file of a reconstruction, made unless it is there, and its residual as a share of the contrast."""
        path = self.path(scan, condition, product)
        record = read_record(path)
        if record is None:
            source = self._next(scan) if CONDITIONS[condition].of_another else scan
            views = CONDITIONS[condition].views(self._exposures(source))
            how = self.settings.options(product)
            reconstruct_files(Request(views, str(path), str(self.bundle.path), self.settings.preset, how))
            record = read_record(path) or {}
        return read_ct(path), float(np.mean([item["rmse"] for item in record["residuals"]])) / 2.0

    def path(self, scan: ScanFile, condition: str, product: Product) -> Path:
        """The volume file of a reconstruction."""
        return self.out / "cases" / scan.name / f"{condition}_{product}.nii.gz"

    def xrays(self, scan: ScanFile) -> Path:
        """Folder of a scan's X-rays."""
        return self.out / "xrays" / scan.name

    def _exposures(self, scan: ScanFile) -> exposures.Request:
        number = int(hashlib.sha256(scan.name.encode()).hexdigest()[:8], 16)  # the same whatever is scored beside it
        return exposures.Request(scan.path, self.settings.preset, self.xrays(scan), self.settings.seed + number)

    def _next(self, scan: ScanFile) -> ScanFile:
        """The next case, of the same group where there is one."""
        group = [other for other in self.scans if other.group == scan.group]
        group = group if len(group) > 1 else list(self.scans)
        return group[(group.index(scan) + 1) % len(group)]


def score_bundle(
    bundle: Bundle, scans: Sequence[ScanFile], out: Path, settings: Settings | None = None, report: Report = silent
) -> list[Scored]:
    """Score a bundle, and write ``cases.csv``, ``results.json``, ``table.md`` and pictures of each case to ``out``.

    Raises:
        InputError: a scan cannot be used, or ``out`` holds the scoring of another bundle or with other settings.
    """
    settings = settings or Settings()
    if len(scans) == 1:  # there is no next case
        settings = replace(
            settings, conditions=tuple(each for each in settings.conditions if not CONDITIONS[each].of_another)
        )
    scoring = Scoring(bundle, scans, out, settings)
    claim(scoring)
    found: list[Scored] = []
    volumes: dict[tuple[str, Product], list[np.ndarray]] = {}
    truths: dict[str, list[np.ndarray]] = {}
    for done, scan in enumerate(scans):
        report("score", done, len(scans))
        pairs = {}
        for condition, product, pair, residual in _pairs(scoring, scan):
            found.append(Scored(scan, condition, product, {**figures_of(pair), "residual": residual}))
            if condition == "plain":
                pairs[product] = pair
                volumes.setdefault((scan.group, product), []).append(pair.recon.hu.round().astype(np.int16))
        if pairs:
            truths.setdefault(scan.group, []).append(next(iter(pairs.values())).truth.hu.round().astype(np.int16))
            page.write_picture(out / "pictures" / f"{scan.name}.png", scan.name, pairs, scoring.xrays(scan) / "plain")
    report("score", len(scans), len(scans))
    distances = {key: sliced_wasserstein(found_hu, truths[key[0]]) for key, found_hu in volumes.items()}
    page.write_tables(found, distances, out, _about(scoring))
    return found


def _pairs(scoring: Scoring, scan: ScanFile) -> Iterator[tuple[str, Product, Pair, float]]:
    """Condition, product, pair and residual of each reconstruction of a scan; all lie around the middle of its body."""
    ct, first = read_ct(scan.path), None
    centre_mm = body_centre_mm(ct)
    for condition, product in scoring.settings.runs():
        recon, residual = scoring.volume(scan, condition, product)
        recon = _moved(recon, centre_mm)  # another patient's X-rays have another isocentre
        first = paired(recon, ct, scoring.settings.spacing_mm) if first is None else first
        yield condition, product, replace(first, recon=resampled(recon, first.truth)), residual


def _moved(ct: CTVolume, centre_mm: tuple[float, float, float]) -> CTVolume:
    return replace(ct, origin_mm=point(np.array(ct.origin_mm) + np.array(centre_mm) - np.array(ct.centre_mm)))


def claim(scoring: Scoring) -> None:
    """Refuse a folder of another bundle, other X-rays, samples or steps, or other scans of the same names; more products,
    conditions and scans may come to it.

    Raises:
        InputError: it is one.
    """
    settings = asdict(scoring.settings)
    wanted = {name: settings[name] for name in ("preset", "samples", "seed")} | {"model": scoring.bundle.hash}
    if scoring.settings.steps is not None:
        wanted["steps"] = scoring.settings.steps
    path, marks = scoring.out / SETTINGS, {scan.name: _mark(scan.path) for scan in scoring.scans}
    known = read_json(path, "settings") if path.exists() else wanted
    begun = known.get("scans", {}) if isinstance(known, dict) else None
    if not isinstance(begun, dict):
        raise InputError(f"{path}: not the settings of a scoring; expected another folder as --out")
    others = sorted(name for name in {*known, *wanted} - {"scans"} if known.get(name) != wanted.get(name))
    if others:
        raise InputError(f"{path}: begun with another {', '.join(others)}; expected another folder as --out")
    changed = next((name for name, mark in marks.items() if begun.get(name, mark) != mark), None)
    if changed is not None:
        raise InputError(f"{path}: {changed} was another scan when this was begun; expected another folder as --out")
    if begun | marks != begun or not path.exists():
        write_json(path, wanted | {"scans": begun | marks})


def _mark(scan: Path) -> str:
    """A hash of a volume file, or of the slices in a folder."""
    return sha256_of(*(files_below(scan, SERIES_FILES) if scan.is_dir() else [scan]))


def _about(scoring: Scoring) -> dict[str, Any]:
    manifest, settings = scoring.bundle.manifest, scoring.settings
    return {
        "model": manifest.id,
        "model_sha256": scoring.bundle.hash,
        "patients": len(scoring.scans),
        "geometry": settings.preset,
        "angles_deg": "0 90",
        "spacing_mm": settings.spacing_mm,
        "command": f"clsdm-bench score --bundle BUNDLE --cases CASES --out OUT --preset {settings.preset} --spacing "
        f"{settings.spacing_mm:g} --samples {settings.samples} --seed {settings.seed} --products {' '.join(settings.products)} "
        f"{'' if settings.steps is None else f'--steps {settings.steps} '}--conditions {' '.join(settings.conditions)}",
    }
