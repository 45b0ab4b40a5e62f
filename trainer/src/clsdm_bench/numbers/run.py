"""The order of ``clsdm-bench calibrate`` and ``clsdm-bench numbers``."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from clsdm.errors import InputError
from clsdm.model.bundle import CALIBRATION, Bundle, patient_mark, write_calibrated
from clsdm.progress import Report
from clsdm.quality.intervals import Calibration, calibration_from
from clsdm.quality.measure import CHEST, measure
from clsdm.quality.quantities import DEFINITION
from clsdm.quality.reprojection import reprojection
from clsdm.quality.usual import Shown, Usual, shown_by
from clsdm.reconstruction import calibrated
from clsdm.volume.read import read_ct
from clsdm.xray.read import read_xray
from clsdm_bench.numbers.calibrate import crossed, table_of
from clsdm_bench.numbers.collect import collect
from clsdm_bench.numbers.page import headed, tables
from clsdm_bench.numbers.picture import write_picture
from clsdm_bench.numbers.steady import Scatter, scatter_of
from clsdm_bench.numbers.wrong import hand_in
from clsdm_bench.pages import publish
from clsdm_bench.score.cases import ScanFile, find_scans
from clsdm_bench.score.run import Scoring, Settings, claim
from clsdm_trainer.files import write_json, write_text

UNSEEN = "all that the model was not trained on"
USUAL = ("plain", "radiograph")
"""Conditions under which X-rays are usual: a projection, and what a machine and a viewer may make of it, so that a radiograph's
tone and edges are not taken for another body part."""


def calibrate_bundle(options: argparse.Namespace, report: Report) -> str:
    """Measure the patients and write the bundle with its table; says on how many it rests.

    A table that the bundle has already keeps what it says of other products. Errors are those of patients that the bundle, or
    else one of its folds, was not trained on; it may have been selected on them. What X-rays are usual is learnt from all: a
    model knows the patients it was trained on, and their residuals are the smaller ones.

    Raises:
        InputError: nobody is left, a fold has other networks, or the bundle cannot be written.
    """
    scoring = scoring_of(options)
    judges = judges_of(scoring, options)
    if not judges:
        raise InputError("--cases: expected patients that the bundle was not trained on, found none")
    found = [each for judge in judges for each in collect(judge, report)]
    shown = [[shown_of(scoring, scan, each) for each in USUAL] for scan in scoring.scans if "mean" in options.products]
    table = joined(
        scoring.bundle.calibration or {}, table_of(found, shown, scoring.bundle.hash, _command("calibrate", options))
    )
    calibration_from(table, scoring.bundle.hash, CALIBRATION)
    written = write_calibrated(options.write, scoring.bundle, table)
    chests = {each.case for each in found if each.region == CHEST}
    return f"{written.path}: errors of {len({each.case for each in found})} patients, {len(chests)} of them chests"


def judges_of(scoring: Scoring, options: argparse.Namespace) -> list[Scoring]:
    """Who measures whom: the bundle those it was not trained on, each fold those of the others that it was not (cross-conformal
    prediction: Vovk, Ann. Math. Artif. Intell. 2015; CV+: Barber et al., Ann. Stat. 2021).

    Raises:
        InputError: what is named as a fold is none of the bundle, or has nobody to measure.
    """
    judges, left = [], {scan.name for scan in scoring.scans}
    for bundle in (scoring.bundle, *_folds_of(scoring.bundle, options.folds)):
        scans = _scans_of(bundle, options)
        is_fold = bundle is not scoring.bundle
        if is_fold and not bundle.manifest.selected_patients:  # val of --cases was not val of each fold
            scans = [replace(scan, selected=False) for scan in scans]
        mine = [scan for scan in usable(scans) if scan.name in left]
        left -= {scan.name for scan in mine}
        if mine:
            out = scoring.out / f"fold-{bundle.hash:.8}" if is_fold else scoring.out
            judges.append(Scoring(bundle, mine, out, scoring.settings))
        elif is_fold:
            raise InputError(
                f"--folds {bundle.path}: was trained on each of --cases that the bundle and the folds before were trained on; "
                "expected one that was trained without some, or leave it out"
            )
    for judge in judges:
        claim(judge)
    return judges


def _folds_of(bundle: Bundle, paths: Sequence[Path]) -> list[Bundle]:
    """Bundles that say what the errors of ``bundle`` are on patients that it was trained on.

    Raises:
        InputError: one is of other networks or patients, does not say of whom, or is the bundle, or named twice.
    """
    folds: list[Bundle] = []
    for fold in map(Bundle.open, paths):
        where, patients = f"--folds {fold.path}", set(fold.manifest.trained_patients)
        if fold.manifest.model != bundle.manifest.model:
            raise InputError(f"{where}: expected the networks of {bundle.path}, found others")
        same = next((each for each in (bundle, *folds) if each.hash == fold.hash), None)
        if same is not None:
            raise InputError(f"{where}: has the weights of {same.path}; expected a fold of its own, named once")
        if not patients:
            raise InputError(f"{where}: does not say which patients it was trained on; expected one that does")
        if patients.isdisjoint(bundle.manifest.trained_patients):
            raise InputError(f"{where}: was trained on none of the patients of {bundle.path}; expected a fold of it")
        folds.append(fold)
    return folds


def _command(name: str, options: argparse.Namespace) -> str:
    """The call, without where things lie."""
    cases = " ".join("=".join([*each.split("=")[:-1], Path(each.rpartition("=")[2]).name]) for each in options.cases)
    folds = " --folds" * bool(options.folds) + " FOLD" * len(options.folds)
    flags = [flag for flag in ("cross", "steady", "wrong", "pictures") if getattr(options, flag, False)]
    return (
        f"clsdm-bench {name} --cases {cases} --split {' '.join(options.split)} --products {' '.join(options.products)} "
        f"--conditions {' '.join(options.conditions)}" + "".join(f" --{flag}" for flag in flags) + folds
    )


def usable(scans: Sequence[ScanFile]) -> list[ScanFile]:
    """Those that the bundle was not trained on."""
    return [scan for scan in scans if not scan.seen or scan.selected]


def _table_beyond(scans: Sequence[ScanFile], bundle: Bundle) -> tuple[Calibration, Usual | None]:
    """The bundle's table, if it rests on none of these patients, and what is usual for its patients."""
    where = f"{bundle.path}/{CALIBRATION}"
    calibration, usual = calibrated(bundle)
    if calibration is None:
        raise InputError(f"{where}: is missing; clsdm-bench calibrate makes it")
    if calibration.outdated:
        raise InputError(
            f"{where}: is of definition {calibration.definition} of the numbers, expected {DEFINITION}; clsdm-bench calibrate "
            "makes it anew"
        )
    marks = set(calibration.patients)
    both = [scan.name for scan in scans if patient_mark(scan.name) in marks]
    if both:
        some = ", ".join(both[:3]) + (" ..." if len(both) > 3 else "")
        raise InputError(
            f"--cases: expected patients that the bundle's table does not rest on, found {len(both)} that it does ({some}); "
            "leave them out, or judge each by all others with --cross"
        )
    return calibration, usual


def joined(before: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """A new table with what an earlier one of the same model says and it does not; of other definitions no numbers stay."""
    if before.get("model_sha256") != table["model_sha256"]:
        return table
    before = {"patients": []} | before
    if before.get("definition") != table["definition"]:
        before |= {"numbers": {}}
    parts = {name: before[name] | table[name] for name in ("numbers", "voxels")}
    if all(table[name] == part for name, part in parts.items()) and table["usual"]:
        return table
    commands = [each for each in before["command"].split("; ") if each != table["command"]]
    return (
        table
        | parts
        | {
            "usual": table["usual"] or before["usual"],
            "command": "; ".join([*commands, table["command"]]),
            **{name: sorted({*before[name], *table[name]}) for name in ("conditions", "patients")},
        }
    )


def evaluate_numbers(options: argparse.Namespace, report: Report) -> str:
    """Measure the patients and write ``numbers.json`` and ``numbers.md``; the latter's text.

    Raises:
        InputError: nobody is left, the bundle has no table, or one of other definitions, or it rests on one of these patients;
            folds without ``--cross``, or of other networks.
    """
    if options.folds and not options.cross:
        raise InputError(
            "--folds: expected with --cross alone; the bundle's own table judges patients that it has not seen"
        )
    scoring = scoring_of(options)
    new = [scan for scan in scoring.scans if not scan.seen]
    judges = judges_of(scoring, options) if options.cross else [replace(scoring, scans=new)]
    unseen = [scan for judge in judges for scan in judge.scans]
    if len(unseen) < 1 + options.cross:
        expected = "two that it was not trained on, of whom each is judged by the other" if options.cross else "one"
        raise InputError(
            f"--cases: {len(unseen)} of {len(scoring.scans)} patients are new to the model; expected {expected}"
        )
    calibration, usual = (None, None) if options.cross else _table_beyond(unseen, scoring.bundle)
    found = [each for judge in judges for each in collect(judge, report)]
    calibration_of = crossed(found, scoring.bundle.hash) if calibration is None else lambda _: calibration
    fixed = _pictures(judges, {each.case: calibration_of(each) for each in found}) if options.pictures else None
    wrong = hand_in(scoring, unseen, usual, report) if options.wrong and usual is not None else None
    scatter = _scatter(judges, report) if options.steady else None
    shown = [replace(each, group=UNSEEN) for each in found] if options.cross else found
    parts = tables(shown, calibration_of, wrong, fixed, scatter)
    text = headed(parts)
    write_json(scoring.out / "numbers.json", [asdict(each) for each in found])
    write_text(scoring.out / "numbers.md", text)
    for page in options.publish:
        publish(page, _on_page(parts, options, scoring, len({each.case for each in found})))
    return text


def _scatter(judges: Sequence[Scoring], report: Report) -> Scatter:
    """How the measures of each scan scatter, through the autoencoder of who judges it: that of another was trained on it."""
    found: dict[str, dict[str, Mapping[str, float]]] = {}
    for judge in judges:
        for way, scans in scatter_of(judge.bundle, judge.scans, report).items():
            found.setdefault(way, {}).update(scans)
    return found


def _pictures(judges: Sequence[Scoring], tables_of: dict[str, Calibration]) -> dict[str, float]:
    """A picture of each scan; by case, the share of the contrast that the X-rays fix."""
    shares = {}
    for judge, scan in ((each, scan) for each in judges for scan in each.scans):
        mean, ensemble = (judge.path(scan, "plain", product) for product in ("mean", "ensemble"))
        shares[scan.name] = write_picture(
            judge.out / "fixed" / f"{scan.name}.png",
            read_ct(scan.path),
            mean,
            ensemble if ensemble.is_file() else None,
            tables_of[scan.name],
        )
    return shares


def _on_page(parts: dict[str, str], options: argparse.Namespace, scoring: Scoring, patients: int) -> dict[str, str]:
    """The tables as a page has them, by name of their marks, each with what it was made with."""
    prefix = "cross-" if options.cross else ""
    whose = f"`{scoring.bundle.manifest.id}`, {patients} patients: `{_command('numbers', options)}`"
    return {
        f"numbers-{prefix}{name}": f"*{whose}*\n\n{text.rstrip()}"
        for name, text in parts.items()
        if name in (options.tables or parts)
    }


def scoring_of(options: argparse.Namespace) -> Scoring:
    """The bundle, the scans and the folder.

    Raises:
        InputError: an unknown condition, no scans, or a folder with volumes of another bundle.
    """
    bundle = Bundle.open(options.bundle)
    how = Settings(
        tuple(options.products),
        tuple(options.conditions),
        options.preset,
        samples=options.samples,
        device=options.device,
    )
    scoring = Scoring(bundle, _scans_of(bundle, options), options.out, how)
    claim(scoring)
    return scoring


def _scans_of(bundle: Bundle, options: argparse.Namespace) -> list[ScanFile]:
    manifest = bundle.manifest
    return find_scans(options.cases, options.split, manifest.trained_patients, manifest.selected_patients)


def shown_of(scoring: Scoring, scan: ScanFile, condition: str) -> Shown:
    """Values that the X-rays of a scan and their mean show."""
    recon, _ = scoring.volume(scan, condition, "mean")
    xrays = [read_xray(file) for file in sorted((scoring.xrays(scan) / condition).glob("*.dcm"))]
    detector = scoring.bundle.manifest.model.detector
    return shown_by(xrays, reprojection(recon, xrays), measure(recon), detector)
