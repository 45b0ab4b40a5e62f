"""The studies that hold a frontal and a lateral X-ray: in the DICOM database, or in a folder at any depth."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from CLSDMReconstructionLib.base.Appearance import sentence
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside
from CLSDMReconstructionLib.xrays.DicomSeries import xraySeries
from CLSDMReconstructionLib.xrays.Facts import inspect
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


@dataclass(frozen=True)
class Study:
    """One study.

    Attributes:
        name: of its result's file; it does not say whose it is.
        frontal: or None.
        lateral: or None.
        notes: on the choice, where the study holds several.
    """

    name: str
    frontal: XRayInput | None
    lateral: XRayInput | None
    notes: tuple[str, ...] = ()

    @property
    def isPair(self) -> bool:
        """Whether there is something to reconstruct."""
        return self.frontal is not None and self.lateral is not None


def studiesOfDatabase() -> Iterator[float]:
    """Those of the DICOM database, the newest first; the generator returns a list of :class:`Study`."""
    series = yield from xraySeries()
    return (yield from _studies([Path(one.path) for one in series]))


def studiesOfFolder(folder: Path) -> Iterator[float]:
    """Those of a folder; likewise.

    Raises:
        InputError: more files than a tree may hold.
    """
    ensureCore()
    from clsdm.files.names import files_below
    from clsdm.limits import TREE_FILES

    files = yield from aside(lambda: files_below(folder, TREE_FILES))
    return (yield from _studies(files))


def _studies(files: list[Path]) -> Iterator[float]:
    ensureCore()
    from clsdm.xray.pair import pairs_by_study

    paths, headers = [], []
    for number, path in enumerate(files):
        header = inspect(XRayInput(path=str(path), role="view")).header
        yield number / len(files)
        if header is not None and header.likely_angle_deg is not None:
            paths.append(str(path))
            headers.append(header)
    pairs = yield from aside(lambda: pairs_by_study(headers))
    return [_study(owner, pair, paths) for owner, pair in pairs.items()]


def _study(owner: tuple, pair, paths: list[str]) -> Study:
    ensureCore()
    from clsdm.xray.pair import study_name

    frontal, lateral = (
        None if index is None else XRayInput(path=paths[index], role=role)
        for index, role in ((pair.frontal, "frontal"), (pair.lateral, "lateral"))
    )
    return Study(study_name(owner), frontal, lateral, tuple(map(sentence, pair.notes)))
