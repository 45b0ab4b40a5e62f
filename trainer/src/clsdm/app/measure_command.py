"""The command ``clsdm measure``: numbers of a volume, with intervals where its record tells which model made it."""

import argparse
from pathlib import Path
from typing import Any

from clsdm import NOTICE
from clsdm.app import cli_help
from clsdm.app.command import command, say
from clsdm.app.fixed import FIXED_LEGEND, write_fixed
from clsdm.app.record import record_of
from clsdm.errors import InputError
from clsdm.files.names import given_path
from clsdm.model.bundle import CALIBRATION, Bundle, embedded_bundles
from clsdm.progress import Report
from clsdm.quality.intervals import Calibration, calibration_from
from clsdm.quality.measure import Measures, measure
from clsdm.quality.numbers import numbers, recorded, spine_distances_mm
from clsdm.quality.quantities import before, footnote, gaps, lines, rows
from clsdm.volume.read import read_ct


def add_measure(commands: Any) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    """Add the command to the parser."""
    text = "Measure lungs, heart, diaphragm, spine and outline in a reconstruction or a CT."
    parser = command(commands, "measure", _measure, text, cli_help.MEASURE)
    parser.add_argument("reconstruction", help="volume that clsdm reconstruct wrote, or a CT")
    parser.add_argument("--truth", metavar="CT", help="true CT, measured beside it over the same heights")
    parser.add_argument("--series", metavar="ID", help=f"of the CT: {cli_help.SERIES}")
    parser.add_argument("--fixed", metavar="F.nii.gz",
                        help="write the part of the volume that its X-rays fix; the rest comes from other patients")  # fmt: skip
    parser.add_argument("--bundle", help="model that made the volume, where it is not an embedded one")


def _measure(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    volume = Path(options.reconstruction)
    ct = read_ct(volume)
    made = record_of(volume)
    measures = (None if options.bundle else recorded(made)) or numbers(ct, *_maker(made, options.bundle))
    report("measure", 1, 1)
    found: dict[str, Any] = {"measures": measures}
    truth = None
    if options.truth:
        mine = Measures.from_plain(measures)
        truth = measure(read_ct(options.truth, options.series), mine.over_mm)
        found["truth"] = truth.to_plain()
        apart = spine_distances_mm(mine, truth)
        found["spine_distance_mm"] = None if apart is None else {"frontal": apart[0], "lateral": apart[1]}
    if options.fixed:
        found["fixed"] = write_fixed(ct, made, given_path(options.fixed, "--fixed"), [volume])
        report("fixed", 1, 1)
        say(options, f"{options.fixed}: {FIXED_LEGEND.format(share=found['fixed']['share'])}")
    table = lines(rows(measures, None if truth is None else truth.values))
    table += [] if truth is None else gaps(measures, truth.reasons)
    say(options, "\n".join(filter(None, [*before(measures), *table, footnote(measures), NOTICE])))
    return found


def _maker(made: dict[str, Any], bundle: str | None) -> tuple[str | None, Calibration | None]:
    """The product that a record names, and the table of the bundle's errors if that made it; (None, None) for a CT."""
    provenance = made.get("provenance", {})
    product, weights = provenance.get("product"), provenance.get("model_sha256")
    if product is None:
        if bundle:
            raise InputError(f"--bundle {bundle}: the volume has no record beside it that says which model made it")
        return None, None
    for opened in map(Bundle.open, [bundle] if bundle else embedded_bundles()):
        if opened.hash == weights:
            break
        if bundle:
            raise InputError(f"--bundle {bundle}: did not make this volume; its weights are {opened.hash:.16}")
    else:
        return product, None
    table = opened.calibration
    return product, None if table is None else calibration_from(table, opened.hash, f"{opened.path}/{CALIBRATION}")
