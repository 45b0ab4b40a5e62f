"""The command ``clsdm pacs``: X-rays out of a PACS, reconstructions into it, by the same path as ``reconstruct --studies``."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clsdm.app import cli_help
from clsdm.app.cases import Case, RequestOf, cases_of_studies
from clsdm.app.command import command, note
from clsdm.app.geometry_options import add_geometry_options
from clsdm.app.reconstruct_command import add_model_options, reconstruct_many
from clsdm.errors import InputError
from clsdm.files.atomic import room_for
from clsdm.files.names import nameless
from clsdm.files.scratch import OwnFolder, remove_abandoned
from clsdm.pacs.client import Pacs
from clsdm.pacs.transfer import find_studies, pull, store
from clsdm.progress import Report, silent
from clsdm.xray.pair import study_name

DICOM, PREFIX = "dicom", ".clsdm-films-"
"""In the folder of the results, where the patients' own are named by a hash: what is stored, and the X-rays for a while."""
LONGEST_S = 3600.0


def add_pacs(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    text = "Reconstruct studies of a PACS (DICOMweb): their best pairs of X-rays are pulled, the results stored beside them."
    parser = command(commands, "pacs", _pacs, text, cli_help.PACS)
    parser.add_argument(
        "--url", required=True, help="of the DICOMweb services, like https://pacs.example.org/dicom-web"
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--study", nargs="+", metavar="UID", help="StudyInstanceUIDs")
    which.add_argument("--accession", nargs="+", metavar="NUMBER", help="accession numbers")
    which.add_argument(
        "--date", metavar="DATES", help="all with X-rays of a day or of several: 20260131, 20260101-20260131"
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="for the results: as of reconstruct --studies, and dicom/"
    )
    parser.add_argument("--no-store", action="store_true", help="store nothing; the same again without it does")
    parser.add_argument("--ca-bundle", metavar="FILE", help="certificates to trust (PEM), where the site signs its own")
    parser.add_argument("--timeout", type=float, default=30.0, metavar="S", help="seconds without a byte (default: 30)")
    add_model_options(parser)
    add_geometry_options(parser)
    parser.set_defaults(frontal=None, lateral=None, view=[], localizers=None, series=None)


def _pacs(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    if not 0 < options.timeout <= LONGEST_S:
        raise InputError(f"--timeout: {options.timeout:g}; expected seconds, more than 0 and at most {LONGEST_S:g}")
    pacs, out = Pacs(options.url, options.ca_bundle, options.timeout), Path(options.out)
    studies = _studies(pacs, options)

    new: list[int] = []

    def deliver(folder: Path) -> None:
        new.append(store(pacs, folder))

    with _folder_for_xrays(out) as xrays:
        try:
            result = reconstruct_many(
                options,
                report,
                lambda request_of: _pulled(pacs, studies, xrays, request_of, report),
                {"dicom": out / DICOM, "keep_patient": True, "deliver": None if options.no_store else deliver},
            )
        finally:
            if new:  # also where another study failed
                stored = f"studies whose result is stored: {len(new)}; images sent now: {sum(new)}"
                note(options, f"{pacs.host}: {stored}")
    if options.no_store:
        note(options, f"{pacs.host}: nothing is stored; the same again without --no-store does")
    return result


def _studies(pacs: Pacs, options: argparse.Namespace) -> list[str]:
    """The UIDs of the studies that are meant."""
    if options.date:
        if not re.fullmatch(r"\d{8}(-\d{8})?", options.date):
            raise InputError("--date: expected a day or two, like 20260131 or 20260101-20260131")
        found = find_studies(pacs, {"StudyDate": options.date})
    else:
        name, keyword = ("study", "StudyInstanceUID") if options.study else ("accession", "AccessionNumber")
        given: list[str] = getattr(options, name)
        found = []
        for number, value in enumerate(given, 1):
            if not re.fullmatch(r"[^\\*?,]+", value):  # a wildcard or a list finds other patients' studies
                raise InputError(f"--{name}: number {number} of {len(given)} is not one {keyword}")
            these = find_studies(pacs, {keyword: value})
            if not these:
                raise InputError(f"{pacs.host}: has no study with X-rays of --{name} number {number} of {len(given)}")
            found += these
    if not found:
        raise InputError(f"{pacs.host}: has no study with X-rays of these days")
    return list(dict.fromkeys(found))


@contextmanager
def _folder_for_xrays(out: Path) -> Iterator[Path]:
    """A folder that vanishes with what is in it; after a kill, at the next writing there."""
    with room_for(out, 0):
        out.mkdir(parents=True, exist_ok=True)
        remove_abandoned(out, PREFIX)
        own = OwnFolder(out, PREFIX)
    try:
        yield own.path
    finally:
        own.remove()


def _pulled(pacs: Pacs, studies: list[str], xrays: Path, request_of: RequestOf, report: Report) -> list[Case]:
    """The cases of the studies; one whose X-rays cannot be had says why, and is in nobody's way."""
    cases: list[Case] = []
    for number, study in enumerate(studies, 1):
        folder = xrays / f"{number:04d}"
        try:
            pull(pacs, study, folder)
            cases += cases_of_studies(folder, request_of, silent)
        except InputError as error:
            cases.append(Case(study_name((study, None)), None, nameless(str(error), {str(folder): "the study"})))
        report("pull X-rays", number, len(studies))
    if not any(case.request for case in cases):
        raise InputError(f"none of {len(studies)} studies can be reconstructed; of the first: {cases[0].problem}")
    return cases
