"""Messages name the options of the command line. Who calls from Python, or fills a table, reads the name that they have there."""

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from clsdm.errors import InputError

_P = ParamSpec("_P")
_R = TypeVar("_R")

_GEOMETRY = {
    "spacing": "pixel_mm=...",
    "source-detector": "source_detector_mm=...",
    "source-axis": "source_axis_mm=...",
    "invert": "invert=True",
    "no-invert": "invert=False",
    "flip": "flip_horizontal=True",
    "turn": "rotate_quarters=2",
    "frame": "frame=...",
}
_ARGUMENTS = {"at-once": "at_once", "isocentre": "isocentre_mm"}
_OPTION = re.compile(
    r"--view FILE:ANGLE|--(?P<name>[a-z][a-z-]*[a-z])(?: (?P<value>cpu|cuda|mean|sample|ensemble|frontal|lateral|1\b(?! to)))?"
)


def in_python(text: str) -> str:
    """A message for who calls from Python: ``GeometryOverrides(pixel_mm=...)`` for ``--spacing``."""

    def said(match: re.Match[str]) -> str:
        name, value = match["name"], match["value"]
        if name is None:
            return "ViewRequest(FILE, angle_deg=ANGLE)"
        if name in _GEOMETRY:
            role = f" of the {value} one" if value in ("frontal", "lateral") else f" {value}" if value else ""
            return f"GeometryOverrides({_GEOMETRY[name]}){role}"
        value = value if value is None or value.isdecimal() else f'"{value}"'
        return _ARGUMENTS.get(name, name.replace("-", "_")) + (f"={value}" if value else "")

    return _OPTION.sub(said, text)


def in_table(text: str) -> str:
    """A message for who fills a table: ``column spacing`` for ``--spacing``."""
    return re.sub(r"--no-invert\b", "column invert", re.sub(r"--(?!no-)([a-z][a-z-]*[a-z])", r"column \1", text))


def for_python(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, its refusals in the words of :func:`in_python`."""

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except InputError as error:
            raise InputError(in_python(str(error))) from error.__cause__

    return called
