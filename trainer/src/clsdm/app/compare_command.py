"""The command ``clsdm compare``: a reconstruction beside the CT and its own X-rays."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clsdm.app import cli_help
from clsdm.app.command import command, note, say
from clsdm.app.fixed import FIXED_LEGEND, OTHERS_LEGEND, fixed_part, from_others
from clsdm.app.record import XRaysNotFoundError, companions, read_record, recorded_views, refuse_exchanged
from clsdm.app.request import found_again, read_views
from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.names import given_path, refuse_overwriting, refuse_replacing
from clsdm.progress import Report
from clsdm.quality.compare import compare
from clsdm.quality.comparison import Part
from clsdm.quality.numbers import recorded
from clsdm.quality.write import FILES, as_json, is_comparison, write_comparison
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct


def add_compare(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    text = "Compare a reconstruction with the CT and with its own X-rays."
    parser = command(commands, "compare", _compare, text, cli_help.COMPARE)
    parser.add_argument("reconstruction", help="volume that clsdm reconstruct wrote")
    parser.add_argument("ct", nargs="?", help="ground-truth CT; without it only the X-rays are compared")
    parser.add_argument("--series", metavar="ID", help=cli_help.SERIES)
    parser.add_argument("--xrays", nargs="+", default=[], metavar="PATH",
                        help="files of its X-rays, or folders that hold them, where they are not beside it")  # fmt: skip
    parser.add_argument("--fixed", action="store_true", dest="with_fixed",
                        help="show in the report what its X-rays fix of the volume, and what came from others")  # fmt: skip
    parser.add_argument("--out", required=True, help="folder for metrics.json, comparison.png and report.html")


def _compare(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    volume, out = Path(options.reconstruction), _folder(options.out)
    _refuse_overwriting_compared(options)
    refuse_replacing([out / name for name in FILES], is_comparison)
    if options.ct:
        refuse_exchanged(volume, Path(options.ct))
    reconstruction = read_ct(volume)
    truth = read_ct(options.ct, options.series) if options.ct else None
    made = read_record(volume) or {}
    xrays = _xrays_of(options, made.get("request"), volume)
    if truth is None and not xrays:
        raise InputError(f"{volume}: no CT given, and no record of its X-rays beside it; nothing to compare with")
    report("read", 1, 1)
    provenance = made.get("provenance", {})
    comparison = compare(reconstruction, truth, xrays, recorded(made), provenance)
    if options.with_fixed:
        comparison = replace(comparison, parts=_parts(comparison.recon, made, volume))
        report("fixed", 1, 1)
    for warning in comparison.warnings:
        note(options, warning)
    report("compare", 1, 1)
    with written_together(out) as scratch:
        written = write_comparison(comparison, scratch, provenance)
    files = [str(out / file.name) for file in written]
    report("write", 1, 1)
    say(options, "\n".join(files))
    return {"files": files} | as_json(comparison, provenance)


def _folder(given: str) -> Path:
    """The folder for the report.

    Raises:
        InputError: it is not there, and has the name of a file.
    """
    out = given_path(given, "--out")
    if not out.is_dir() and out.suffix.lower() in {Path(name).suffix for name in FILES}:
        raise InputError(f"--out {given}: is the name of a file; expected a folder, which gets {', '.join(FILES)}")
    return out


def _parts(recon: CTVolume, made: dict[str, Any], volume: Path) -> tuple[Part, ...]:
    """The part of a reconstruction that the X-rays fix, and the rest."""
    fixed, share = fixed_part(recon, recorded_views(made, str(volume)))
    rest = from_others(recon, fixed)
    return (
        Part(
            f"What the X-rays fix: {share:.0%} of the contrast in the body", fixed.hu, FIXED_LEGEND.format(share=share)
        ),
        Part("What came from other patients", rest.hu, OTHERS_LEGEND, signed=True),
    )


def _xrays_of(options: argparse.Namespace, recorded: Any, volume: Path) -> list[Any]:  # noqa: ANN401 - untrusted JSON
    """The X-rays that a volume was made from; without them, where there is a CT, the CT alone is compared with."""
    if recorded is None:
        return []
    folder = [options.ct] if options.ct and Path(options.ct).is_dir() else []  # which may hold the localizers too
    try:
        request = found_again(recorded, volume, [given_path(each, "--xrays") for each in (*options.xrays, *folder)])
    except XRaysNotFoundError as error:
        if not options.ct or options.xrays:
            raise
        note(options, str(error))
        return []
    _refuse_overwriting_compared(options, [Path(view.file) for view in request.views])
    return read_views(request)


def _refuse_overwriting_compared(options: argparse.Namespace, found: Sequence[Path] = ()) -> None:
    inputs = [*companions(Path(options.reconstruction)).values(), *(Path(each) for each in options.xrays), *found]
    refuse_overwriting(
        [Path(options.out) / name for name in FILES], [*inputs, *([Path(options.ct)] if options.ct else [])]
    )
