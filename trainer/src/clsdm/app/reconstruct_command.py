"""The command ``clsdm reconstruct``: its options, and the request that they make."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.app import batch, cli_help, request
from clsdm.app.cases import Case, RequestOf, cases_of_studies, cases_of_table, with_files
from clsdm.app.command import command, note, say
from clsdm.app.dicom_output import refuse_nobody, write_dicom
from clsdm.app.geometry_options import add_xray_options, overrides_from
from clsdm.app.maker import this_computer
from clsdm.app.request import Request, ViewRequest
from clsdm.app.warm import WARM
from clsdm.errors import InputError, in_full
from clsdm.files.names import nameless
from clsdm.geometry.view import view_name
from clsdm.model.bundle import Bundle
from clsdm.options import Options
from clsdm.progress import Report
from clsdm.volume.write_dicom import refuse_full


def add_reconstruct(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    text = "Reconstruct a CT volume from one to eight X-rays of one patient."
    parser = command(commands, "reconstruct", _reconstruct, text, cli_help.RECONSTRUCT)
    parser.add_argument("request", nargs="?", help="JSON file with the whole request instead of the options below")
    add_model_options(parser)
    add_xray_options(parser)
    many = parser.add_argument_group("many patients: the same again goes on, and tries again what failed")
    many.add_argument(
        "--table", metavar="CSV", help="a line for each, with columns case, frontal, lateral, spacing ..."
    )
    many.add_argument("--studies", metavar="FOLDER", help="a tree of DICOM files: the best pair of each study")
    parser.add_argument("--out", metavar="R.nii.gz", help="volume to write; of many patients, the folder for all")
    parser.add_argument("--dicom", metavar="DIR", help="also write a CT series and a picture of it, for a PACS")
    parser.add_argument("--keep-patient", action="store_true", default=None,
                        help="with --dicom: file it under the patient and study of the X-rays (default: of nobody)")  # fmt: skip


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it is to be used."""
    parser.add_argument(
        "--bundle", help="model: folder, archive, or a name from clsdm bundle list; its grid is the volume's"
    )
    products = "posterior mean, one sample, or mean and spread of samples (default: the model's)"
    parser.add_argument("--product", choices=("mean", "sample", "ensemble"), help=products)
    parser.add_argument("--steps", type=int, help="denoiser evaluations per sample (default: the model's)")
    parser.add_argument("--samples", type=int, help="of an ensemble (default: 8)")
    parser.add_argument(
        "--at-once", type=int, metavar="N", help="samples drawn together; 1 takes least memory (default: 2)"
    )
    parser.add_argument("--seed", type=int, help="of the samples (default: 0)")
    parser.add_argument("--refine", action="store_true", default=None,
                        help="find angle, tilt, height and distance of the views after the first by the residual")  # fmt: skip
    parser.add_argument("--consistency", action="store_true", default=None,
                        help="change the volume, most where the model usually errs, until it explains the X-rays")  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="(default: auto)")


def _reconstruct(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    _refuse_both(options)
    if options.table or options.studies:
        return _reconstruct_many(options, report)
    wanted = request.read_request(options.request) if options.request else _request_from(options)
    folder = dicom_folder(options)
    if options.keep_patient:
        refuse_nobody(wanted)
    is_again = Path(wanted.out).is_file()  # of an earlier run, or else it is refused
    result, files = request.run(wanted, report, [Path(options.request)] if options.request else [])
    if is_again:
        note(options, f"{wanted.out}: takes the place of an earlier reconstruction")
    if folder is not None:
        files["dicom"] = str(write_dicom(result, folder, bool(options.keep_patient)))
    names = {each.source: Path(each.source).name for each in result.residuals}
    for warning in result.warnings:
        note(options, nameless(in_full(warning), names))
    verdicts = [f"{names[each.source]} ({view_name(each.angle_deg)}): {each.agreement}" for each in result.residuals]
    say(options, "\n".join([files["volume"], *([str(folder)] if folder else []), *verdicts, NOTICE]))
    return {"files": files} | request.record(result, wanted)


def _reconstruct_many(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    one = next((name for name in ("frontal", "lateral", "view", "localizers") if getattr(options, name)), None)
    if one or (options.table and options.studies):
        raise InputError(f"--{one or 'studies'}: names patients beside --table or --studies; expected one of them")
    if not options.out:
        raise InputError("--out: missing; name the folder for the results")

    def cases(request_of: RequestOf) -> list[Case]:
        if options.table:
            return cases_of_table(Path(options.table), request_of)
        return cases_of_studies(Path(options.studies), request_of, report)

    dicom = Path(options.dicom) if options.dicom else None
    table = Path(options.table) if options.table else None
    plan = {"dicom": dicom, "keep_patient": bool(options.keep_patient), "table": table}
    return reconstruct_many(options, report, cases, plan)


def reconstruct_many(
    options: argparse.Namespace, report: Report, cases_of: Callable[[RequestOf], list[Case]], plan: Mapping[str, Any]
) -> dict[str, Any]:
    """Reconstruct many patients with the options of the command line.

    Args:
        options: as parsed; ``out`` is the folder for all.
        report: progress.
        cases_of: finds the patients.
        plan: the rest of :class:`clsdm.app.batch.Plan`.

    Returns:
        See :func:`clsdm.app.batch.run`.

    Raises:
        InputError: one of them failed, or none can be reconstructed.
    """
    out, bundle = Path(options.out), WARM.bundle(options.bundle)
    shared = vars(options) | {"product": options.product or bundle.manifest.default_product}

    def request_of(name: str, own: dict[str, Any]) -> Request:
        return _request_from(argparse.Namespace(**shared | own | {"out": str(out / name / batch.VOLUME)}))

    cases = cases_of(request_of)
    for case in cases:
        for text in case.notes:
            note(options, f"{case.name}: {text}")

    def ended(case: Case, outcome: batch.Outcome) -> None:
        if outcome.problem:
            note(options, f"{case.name}: {with_files(case, in_full(outcome.problem))}")

    result = batch.run(cases, batch.Plan(out, this_computer(bundle), **plan), report, ended)
    if result["disagreeing"]:
        note(options, result["disagreeing"])
    say(options, "\n".join([*result["files"], NOTICE]))
    if result["failed"]:
        raise InputError(f"{result['failed']} of {len(cases)} patients failed; {result['files'][0]} says why")
    return result


def dicom_folder(options: argparse.Namespace) -> Path | None:
    """The folder for DICOM files, looked at before anything is computed.

    Raises:
        InputError: it holds files, or ``--keep-patient`` was given without it.
    """
    if options.dicom is None:
        if options.keep_patient:
            raise InputError("--keep-patient: goes with --dicom DIR; the other files never name a patient")
        return None
    folder = Path(options.dicom)
    refuse_full(folder)
    return folder


def _refuse_both(options: argparse.Namespace) -> None:
    """A request file holds everything; what else was asked for would silently be dropped.

    So no option of this command has a default in the parser: what is not None, nor an empty list, was given.
    """
    own = ("request", "run", "json", "quiet", "dicom", "keep_patient")
    given = [name for name, value in vars(options).items() if name not in own and value is not None and value != []]
    if options.request and given:
        option = given[0].replace("_", "-")
        raise InputError(f"{options.request}: a request file leaves no room for --{option}; put it into the file")


def _request_from(options: argparse.Namespace) -> Request:
    if not options.out:
        raise InputError("--out: missing; name the volume to write, for example reconstruction.nii.gz")
    views = [
        _view(options, file, role, None, angle)
        for role, file, angle in (("frontal", options.frontal, 0.0), ("lateral", options.lateral, 90.0))
        if file
    ]
    views += [_view(options, *_file_and_angle(text)) for text in options.view]
    if not views and not options.localizers:
        raise InputError("no X-ray given; use --frontal, --lateral, --view FILE:ANGLE or --localizers CT_FOLDER")
    product = options.product or Bundle.open(options.bundle).manifest.default_product
    names = ("steps", "samples", "at_once", "seed", "device", "consistency", "refine")
    asked = {name: getattr(options, name) for name in names}
    how = Options(product, **{name: value for name, value in asked.items() if value is not None})
    machine = {} if options.preset is None else {"preset": options.preset}
    scan = {"localizers": options.localizers, "series": options.series}
    return Request(tuple(views), options.out, options.bundle, options=how, **scan, **machine)


def _view(
    options: argparse.Namespace, file: str, role: str, angle: float | None, default: float | None = None
) -> ViewRequest:
    return ViewRequest(file, angle, default, overrides_from(options, role))


def _file_and_angle(text: str) -> tuple[str, str, float]:
    file, colon, angle = text.rpartition(":")
    try:
        return file, "view", float(angle if colon and file else "none")
    except ValueError:
        raise InputError(
            f"--view {text!r}: expected FILE:ANGLE with the angle in degrees, e.g. oblique.dcm:45"
        ) from None
