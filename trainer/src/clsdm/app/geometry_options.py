"""The command line's X-rays, and their geometry: for all views, and for the frontal and the lateral one apart."""

import argparse
from typing import Any

from clsdm.app import cli_help
from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS

ROLES = ("frontal", "lateral")


def add_xray_options(parser: argparse.ArgumentParser) -> None:
    """Which X-rays, and how they were taken."""
    parser.add_argument("--frontal", metavar="FILE", help="PA or AP X-ray (DICOM, PNG, JPEG, TIFF, NIfTI)")
    parser.add_argument("--lateral", metavar="FILE", help="lateral X-ray")
    parser.add_argument("--view", metavar="FILE:ANGLE", action="append", default=[], help="further view; repeatable")
    parser.add_argument("--localizers", metavar="CT_FOLDER", help="the scouts of a CT study, frontal and lateral")
    parser.add_argument("--series", metavar="ID", help=f"with --localizers: {cli_help.SERIES}")
    add_geometry_options(parser)


def add_geometry_options(parser: argparse.ArgumentParser) -> None:
    """``--spacing`` and its like, and ``--frontal-spacing`` and ``--lateral-spacing``, which overrule it."""
    group = parser.add_argument_group("geometry, where the files do not say (values apply to all views)")
    group.add_argument("--preset", choices=sorted(PRESETS), help="(default: chest)")
    _add(group, "--", {
        "spacing": "pixel spacing on the detector: one value, or row and column",
        "source-detector": "source to detector plane",
        "source-axis": "source to the patient's middle",
        "invert": "bone is dark (--invert) or bright (--no-invert) in the images",
        "frame": "which image of a cine run or of a TIFF with several pages, from 1",
    })  # fmt: skip
    group.add_argument("--flip", choices=ROLES, action="append", default=[],
                       help="mirror that view, e.g. a lateral that faces right; repeatable")  # fmt: skip
    group.add_argument("--turn", choices=ROLES, action="append", default=[],
                       help="turn that view by 180 degrees: it stands upside down; repeatable")  # fmt: skip
    for role in ROLES:
        group = parser.add_argument_group(f"geometry of the {role} view alone, in place of the values for all")
        names = ("spacing", "source-detector", "source-axis", "invert", "frame")
        _add(group, f"--{role}-", dict.fromkeys(names, f"as without {role}-"))


def _add(group: Any, prefix: str, helps: dict[str, str]) -> None:  # noqa: ANN401 - argparse keeps the type to itself
    group.add_argument(f"{prefix}spacing", type=float, nargs="+", metavar="MM", help=helps["spacing"])
    for name in ("source-detector", "source-axis"):
        group.add_argument(f"{prefix}{name}", type=float, metavar="MM", help=helps[name])
    group.add_argument(f"{prefix}invert", action=argparse.BooleanOptionalAction, default=None, help=helps["invert"])
    group.add_argument(f"{prefix}frame", type=int, metavar="N", help=helps["frame"])


def overrides_from(options: argparse.Namespace, role: str) -> Any:  # noqa: ANN401 - imported late
    """The ``GeometryOverrides`` of one view: what was given for its role, else for all.

    Args:
        options: as parsed.
        role: "frontal", "lateral" or "view".

    Raises:
        InputError: more than two values for the spacing.
    """
    from clsdm.xray.read import GeometryOverrides

    def given(name: str) -> Any:  # noqa: ANN401
        own = getattr(options, f"{role}_{name}", None)
        return getattr(options, name) if own is None else own

    spacing = given("spacing")
    if spacing is not None and len(spacing) > 2:
        raise InputError(f"--spacing: expected one or two values in mm, got {len(spacing)}")
    return GeometryOverrides(
        pixel_mm=None if spacing is None else (spacing[0], spacing[-1]),
        source_axis_mm=given("source_axis"),
        source_detector_mm=given("source_detector"),
        invert=given("invert"),
        flip_horizontal=role in options.flip,
        rotate_quarters=2 if role in options.turn else 0,
        frame=given("frame"),
    )
