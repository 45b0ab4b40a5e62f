"""Reading a CT from DICOM: the series of a folder, one of them chosen, its slices decoded and stacked.

Every pixel comes from a slice whose length was checked against its header: nothing is read that was never written.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from clsdm import limits
from clsdm.errors import InputError, reading
from clsdm.files.dicom_open import open_dicom
from clsdm.files.dicom_pixels import check_pixel_header, stored_values
from clsdm.files.dicom_tags import PROJECTIONS, Tags
from clsdm.files.names import files_below
from clsdm.volume.ct import CTVolume
from clsdm.volume.slices import MIN_SLICES, Slice, Stack, functional, header_of, is_slice, slices_of, stacks, text
from clsdm.volume.stack import in_order, placed

HU_TYPES = ("", "HU", "US", "HU_MOD")
"""RescaleType of HU; US (unspecified) is written by some scanners."""


@dataclass(frozen=True)
class Found:
    """The DICOM content of a folder.

    Attributes:
        stacks: that may be a volume, most slices first.
        notes: what was left out.
        others: modalities of what is no CT.
    """

    stacks: tuple[Stack, ...]
    notes: tuple[str, ...]
    others: tuple[str, ...] = ()


def read_dicom_ct(path: Path, series: str | None = None) -> CTVolume:
    """The CT in a folder of slices, or in one enhanced (multi-frame) file.

    Args:
        path: folder, searched at any depth, or file.
        series: SeriesNumber or SeriesInstanceUID, where there are several.

    Raises:
        InputError: no series, several and none chosen, or one that is no volume.
    """
    found = find(path)
    stack = _chosen(found, series, path)
    return volume_of(stack, str(path), name_files=True, notes=found.notes)


def find(path: Path) -> Found:
    """The stacks of CT slices in a folder or file.

    Raises:
        InputError: more files than any study has.
    """
    files = files_below(path, limits.SERIES_FILES) if path.is_dir() else [path]
    if len(files) > limits.SERIES_FILES:
        raise InputError(
            f"{path}: {len(files):,} files; expected at most {limits.SERIES_FILES:,} in a folder of slices"
        )
    return found_in(files, str(path))


def found_in(files: Sequence[Path], label: str) -> Found:
    """The stacks of CT slices among files; ``label`` begins messages."""
    series: dict[str, list[tuple[Path, pydicom.Dataset]]] = defaultdict(list)
    damaged: list[Path] = []
    others: set[str] = set()
    for file in files:
        try:
            header = header_of(file)
        except InputError:
            damaged.append(file)
            continue
        if header is not None and is_slice(header):
            series[text(header, "SeriesInstanceUID")].append((file, header))
        elif header is not None:
            others.add(text(header, "Modality"))
    every = [stack for uid, images in series.items() for stack in _stacks_of(uid, images, label)]
    every.sort(key=lambda stack: len(stack.slices), reverse=True)
    whole = [stack for stack in every if len(stack.slices) >= MIN_SLICES] or every
    notes = [f"{len(damaged)} damaged DICOM files were left out"] if damaged else []
    if len(whole) < len(every):
        notes.append(f"{len(every) - len(whole)} series of fewer than {MIN_SLICES} slices were left out")
    return Found(tuple(whole), tuple(notes), tuple(sorted(others - {"", "CT"})))


def _stacks_of(uid: str, images: Sequence[tuple[Path, pydicom.Dataset]], label: str) -> list[Stack]:
    _, first = images[0]
    patients = {text(header, "PatientID") for _, header in images}
    if len(patients) > 1:
        raise InputError(f"{label}: one series holds images of {len(patients)} patients (their PatientIDs differ)")
    slices = [item for file, header in images for item in slices_of(file, header, label)]
    return stacks(uid, text(first, "SeriesNumber"), text(first, "SeriesDescription"), slices)


def _chosen(found: Found, series: str | None, path: Path) -> Stack:
    """The one stack, or the one that was asked for."""
    if not found.stacks:
        said = [f"{path}: no CT volume: expected one DICOM series, found 0 of CT slices", *found.notes]
        if found.others:
            no_ct = [name for name in found.others if name in PROJECTIONS]
            what = "an X-ray in place of a CT" if no_ct else "images that are no slices of a CT"
            said.insert(1, f"found {what} (modality {', '.join(no_ct or found.others)})")
        raise InputError("; ".join(said))
    matching = [stack for stack in found.stacks if series in (None, stack.uid, stack.number)]
    matching = matching or [stack for stack in found.stacks if series == stack.number.split("/")[0]]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(str(stack) for stack in (matching or found.stacks))
    if series is None:
        one_of_each = len({stack.number for stack in found.stacks}) == len(found.stacks)
        raise InputError(
            f"{path}: expected one DICOM series, found {len(found.stacks)}: {listed}",
            f"choose one with --series, by its {'number or UID' if one_of_each else 'UID'}",
        )
    raise InputError(f"{path}: series {series} fits {len(matching)} series of: {listed}; expected to fit one")


def largest_volume(files: Sequence[Path], label: str) -> CTVolume:
    """The volume of the stack with most slices among files, for data sets, whose scans cannot be asked about.

    Args:
        files: of one series.
        label: what the scan is called in messages, in place of the files' names, which may hold the patient's.

    Raises:
        InputError: no slices, or no volume.
    """
    found = found_in(files, label)
    if not found.stacks:
        raise InputError("; ".join((f"{label}: no CT slices found", *found.notes)))
    notes = found.notes
    if len(found.stacks) > 1:
        notes += (f"of {len(found.stacks)} acquisitions or reconstructions the one with most slices was taken",)
    return volume_of(found.stacks[0], label, notes=notes)


def volume_of(stack: Stack, label: str, *, name_files: bool = False, notes: Sequence[str] = ()) -> CTVolume:
    """The volume of a stack.

    Args:
        stack: from :func:`find`.
        label: what the scan is called in messages.
        name_files: messages about one slice name its file instead.
        notes: what was left out before.

    Raises:
        InputError: not one complete, evenly spaced stack, or a slice that is truncated or cannot be decoded.
    """
    try:
        slices = in_order(stack.slices, label)
    except InputError as error:
        raise InputError("; ".join((str(error), *notes, *stack.notes))) from None
    rows, cols = slices[0].size
    limits.check_volume_size((cols, rows, len(slices)), label)
    hu = np.empty((len(slices), rows, cols), dtype=np.float32)
    files: dict[Path, list[tuple[int, Slice]]] = defaultdict(list)
    for at, item in enumerate(slices):
        files[item.path].append((at, item))
    for path, items in files.items():
        where = str(path) if name_files else label
        with reading(where, "slice"):
            tags = _opened(path, where)
            for at, item in items:
                hu[at] = _hu(tags, item)
    return placed(hu, slices, label).noted(*notes, *stack.notes)


def _opened(path: Path, label: str) -> Tags:
    tags = Tags(open_dicom(path), Path(label))
    if "PixelData" not in tags.dataset:
        raise InputError(f"{label}: a slice holds no PixelData")
    check_pixel_header(tags)
    return tags


def _hu(tags: Tags, item: Slice) -> np.ndarray:
    """(rows, cols) HU of a slice: what is stored, times slope plus intercept."""
    pixels, _ = stored_values(tags, item.frame)
    if pixels.ndim != 2:
        raise InputError(f"{tags.path}: a slice in colour; expected grey values")
    per_frame = tags.dataset.get("PerFrameFunctionalGroupsSequence")
    shared = (tags.dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    groups = [per_frame[item.frame - 1] if per_frame else None, shared, tags.dataset]
    slope, intercept, kind = (
        functional(groups, name, "PixelValueTransformationSequence")
        for name in ("RescaleSlope", "RescaleIntercept", "RescaleType")
    )
    if str(kind or "").strip().upper() not in HU_TYPES:
        raise InputError(f"{tags.path}: RescaleType of a slice is {kind}; expected HU")
    return pixels.astype(np.float32) * np.float32(1.0 if slope is None else slope) + np.float32(intercept or 0.0)
