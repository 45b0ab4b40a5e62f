"""The facts about an X-ray before its pixels are read, and which X-rays go together."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from CLSDMReconstructionLib.base.Appearance import elided, sentence
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.scene import XRayNodes
from CLSDMReconstructionLib.xrays.Inputs import XRayInput, isDicom

_UNKNOWN = {
    "spacingMm": "The pixel spacing is not known. Enter it, in mm on the detector.",
    "angleDeg": "The direction of the view is not known. Enter its angle.",
}
NAMED = 3
"""Files that a note names; of more it tells the number."""
_SEVERAL = "The file holds several images. Enter the number of the one to use, from 1."


@dataclass(frozen=True)
class Field:
    """A value of one of :data:`FIELDS` and where it is from: "tag", "default" or "entered"; value None: unknown."""

    value: Any
    origin: str


@dataclass(frozen=True)
class XRayFacts:
    """The facts about an X-ray before its pixels are read.

    Attributes:
        fields: a :class:`Field` for each of :data:`FIELDS`, ``frame`` only of a file with several images; where it cannot
            be read, for each that was entered.
        header: ``clsdm.xray.read.XRayHeader`` (size after turning, patient, study, likely angle); None where it cannot be read.
        problem: why it cannot be used yet (unknown spacing, no X-ray, damaged), in a sentence; "" where it can.
        missing: name of the field that must be entered, or "".
        warnings: what the user should know (8 bit, FOR PRESENTATION, ...).
        exposure: file or volume and frame, by which ``clsdm.xray.pair.one_twice`` tells whether two are one image; None
            where it cannot be read.
    """

    fields: dict[str, Field] = field(default_factory=dict)
    header: Any = None
    problem: str = ""
    missing: str = ""
    warnings: tuple[str, ...] = ()
    exposure: tuple[Path | str, int | None] | None = None


def inspect(xray: XRayInput, preset: str = "chest") -> XRayFacts:
    """Gather what file, preset and user say about an X-ray, from the header alone, in milliseconds; no file makes it raise."""
    ensureCore()
    from clsdm.errors import InputError
    from clsdm.xray.image import SeveralImagesError

    try:
        with xray.asFile() as file:
            try:
                return _facts(xray, file, preset)
            except SeveralImagesError:
                return XRayFacts({"frame": Field(None, "default")}, problem=_SEVERAL, missing="frame")
            except InputError as error:
                entered = {name: Field(value, "entered") for name, value in xray.entered.items()}  # to be taken back
                return XRayFacts(entered, problem=sentence(withoutPath(error.remark, file, xray.label)))
    except (ValueError, OSError) as error:
        return XRayFacts(problem=sentence(f"{xray.label}: {error}"))


def _facts(xray: XRayInput, file: Path, preset: str) -> XRayFacts:
    ensureCore()
    from clsdm.files.strict_json import from_plain
    from clsdm.xray.read import GeometryOverrides, inspect_xray

    request = xray.toViewRequest(file)
    overrides = from_plain(GeometryOverrides, request["geometry"], xray.label)
    header = inspect_xray(file, request["angle_deg"], overrides, preset, default_angle_deg=request["default_angle_deg"])
    fields = _fields(xray, header, overrides)
    unset = xray.nodeId and not isDicom(file) and overrides.pixel_mm is None
    if unset and fields["spacingMm"].value == (1.0, 1.0):  # what Slicer puts where it knows none
        fields["spacingMm"] = Field(None, "default")
    missing = next((name for name in _UNKNOWN if fields[name].value is None), "")
    return XRayFacts(
        fields,
        header,
        _UNKNOWN[missing] if missing else _geometryProblem(fields, header.rows, header.cols),
        missing,
        tuple(withoutPath(text, file, xray.label) for text in header.warnings),
        _exposure(xray, file, overrides.frame),
    )


def _exposure(xray: XRayInput, file: Path, frame: int | None) -> tuple[Path | str, int | None]:
    isKept = xray.path is not None or XRayNodes.xrayFile(xray.node) == file  # else written for this look at it only
    return (file if isKept else xray.nodeId), frame


def _fields(xray: XRayInput, header, overrides) -> dict[str, Field]:
    orientation = header.origins.get("orientation", "default")
    found = {
        "angleDeg": (header.angle_deg, header.origins["angle_deg"]),
        "spacingMm": (header.pixel_mm, header.origins["pixel_mm"] if header.pixel_mm else "default"),
        "sourceDetectorMm": (header.source_detector_mm, header.origins["source_detector_mm"]),
        "sourceAxisMm": (header.source_axis_mm, header.origins["source_axis_mm"]),
        "rotateQuarters": (overrides.rotate_quarters, orientation),
        "flip": (overrides.flip_horizontal, orientation),
        "invert": (header.invert, header.origins["invert"]),
        "window": (header.window, header.origins["window"]),
    }
    if overrides.frame is not None:
        found["frame"] = (overrides.frame, "user")
    return {name: Field(value, _origin(xray, name, origin)) for name, (value, origin) in found.items()}


def _origin(xray: XRayInput, name: str, origin: str) -> str:
    """The core's "user" is "entered" only where the user did; else a node knew it, which is as good as a tag."""
    if name in xray.entered:
        return "entered"
    return {"user": "tag"}.get(origin, origin)


def _geometryProblem(fields: dict[str, Field], rows: int, cols: int) -> str:
    ensureCore()
    from clsdm.errors import InputError
    from clsdm.geometry.view import View

    names = ("angleDeg", "sourceAxisMm", "sourceDetectorMm")
    try:
        View(*(fields[name].value for name in names), rows, cols, pixel_mm=fields["spacingMm"].value)
    except InputError as error:
        return sentence(error.remark)
    return ""


def pictureOf(xray: XRayInput) -> Iterator[float]:
    """Read an X-ray's pixels as they are stored; the generator returns ((rows, columns), uint8 picture of at most 512).

    Raises:
        InputError: it cannot be read.
        ValueError: its node is gone.
    """
    ensureCore()
    from clsdm.xray.read import picture_of

    with xray.asFile() as file:
        return (yield from aside(lambda: picture_of(file, xray.entered.get("frame"))))


def checkTogether(facts) -> tuple[str, tuple[str, ...]]:
    """(why X-rays that have been inspected cannot be used together or "", warnings), by ``clsdm.xray.pair``."""
    ensureCore()
    from clsdm.xray.pair import depth_warning, one_twice, two_patients

    if one_twice([each.exposure for each in facts if each.exposure is not None]) is not None:
        return "The same X-ray is chosen twice. Choose another file or volume for one of them, or leave it out.", ()
    headers = [each.header for each in facts if each.header is not None]
    if two_patients([header.patient_key for header in headers]) is not None:
        return "The X-rays are of two patients (their PatientIDs differ). Choose X-rays of one patient.", ()
    warning = depth_warning([header.angle_deg for header in headers if header.angle_deg is not None])
    warnings = [sentence(warning)] if warning else []
    if len({header.study_uid for header in headers if header.study_uid}) > 1:
        warnings.append("The X-rays are of two studies: what changed in between is seen in one of them only.")
    return "", tuple(warnings)


def pairNotes(named: list[tuple[str, XRayFacts]]) -> tuple[str, ...]:
    """Notes on X-rays by their names, one that holds for several said once; by ``clsdm.xray.notes``."""
    ensureCore()
    from clsdm.xray.notes import gathered

    notes = [(name, text) for name, facts in named for text in facts.warnings]
    return tuple(sentence(line) for line in gathered(notes, len(named)))


def suggestPair(candidates, notes: list[str] | None = None, named: bool = True) -> Iterator[float]:
    """Find (frontal, lateral) among files or nodes, by ``clsdm.xray.guess``.

    A generator of the fraction done, one step for each candidate. It returns an :class:`XRayInput` or None for each.

    Args:
        candidates: paths, folders that are searched at any depth, or volume nodes; what is no X-ray is passed over.
        notes: gets sentences on the choice: among several of a study, files that are not taken, and further studies.
        named: whether the user named the candidates, and is told which of them are not taken.

    Raises:
        FolderError: a folder holds more files than one study has.
    """
    ensureCore()
    from clsdm.xray.guess import pair_of
    from clsdm.xray.pair import chosen_among

    sources, headers = [], []
    known = yield from _withoutFolders(candidates)
    for number, source in enumerate(known):
        header = inspect(XRayInput.of(source, "view")).header
        yield number / len(known)
        if header is not None:
            sources.append(source)
            headers.append(header)
    with contextlib.ExitStack() as files:
        paths = [files.enter_context(XRayInput.of(source, "view").asFile()) for source in sources]
        indices = yield from aside(lambda: pair_of(headers, paths))
    taken = [index for index in indices if index is not None]
    if notes is not None and taken:
        notes += [sentence(note) for note in chosen_among(headers, indices)]
        notes += _leftOut(candidates, {sources[index] for index in taken}) if named else []
        notes += _otherStudies(headers, taken)
    found = zip(indices, ("frontal", "lateral"), strict=True)
    return tuple(None if index is None else XRayInput.of(sources[index], role) for index, role in found)


def _leftOut(candidates, taken: set) -> list[str]:
    """Which of the files that were named are not of the pair; with its folder where another has the same name."""
    files = [each for each in candidates if isinstance(each, (str, Path)) and not isFolder(each)]
    count = Counter(Path(each).name for each in files)
    left = [Path(each) for each in files if each not in taken]
    names = [elided(each.name if count[each.name] == 1 else f"{each.parent.name}/{each.name}") for each in left]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"Not used: {', '.join(names[:NAMED])}{more}."] if names else []


def _otherStudies(headers: list, taken: list[int]) -> list[str]:
    """That there are X-rays of other studies than the pair's."""
    others = {header.study_uid for header in headers} - {headers[index].study_uid for index in taken} - {""}
    if not others:
        return []
    studies = "1 further study" if len(others) == 1 else f"{len(others)} further studies"
    return [f"X-rays of {studies} are there too and not used. “Many studies” below reconstructs all of them."]


class FolderError(ValueError):
    """A folder that cannot be searched for X-rays, in a sentence that does not name it."""


def isFolder(source) -> bool:
    """Whether a path or node that was handed in is a folder."""
    return isinstance(source, (str, Path)) and Path(source).is_dir()


def _withoutFolders(candidates) -> Iterator[float]:
    """Steps; the generator returns paths and nodes with the files of a folder, which are listed in a thread, in its place."""
    ensureCore()
    from clsdm.errors import InputError
    from clsdm.files.names import files_below
    from clsdm.limits import SERIES_FILES

    found = []
    for source in candidates:
        if not isFolder(source):
            found.append(source)
            continue
        try:
            found += yield from aside(lambda folder=Path(source): files_below(folder, SERIES_FILES))
        except InputError:
            raise FolderError(f"The folder holds more than {SERIES_FILES:,} files. Drop that of one study.") from None
    return found


def withoutPath(text: str, file: Path, label: str) -> str:
    """A message of the core with the X-ray's label in place of its file, whose name may be the patient's."""
    for name in (str(file), file.as_posix(), str(file.parent), file.name):
        if len(name) > 2:
            text = text.replace(name, label if name != str(file.parent) else "its folder")
    return text
