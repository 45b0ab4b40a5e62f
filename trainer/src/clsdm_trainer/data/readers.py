"""Finding and reading scans in the layouts in which they are published.

Each reader knows one layout and does two things: ``find`` lists the scans below a root without opening volumes,
``read`` returns one of them as a :class:`clsdm.volume.ct.CTVolume`: HU, LPS affine, (z, y, x). Whatever is peculiar to a
layout (offsets, left-handed axes, stale tags) ends here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from clsdm.errors import InputError, reading
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm_trainer.data import dicom
from clsdm_trainer.data.scan import Listing, Scan, safe_id
from clsdm_trainer.data.splits import lidc_patient

Kind = Literal["folder", "dicom", "x2ct-hdf5", "ctspine1k"]

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mhd", ".mha")
DETACHED_DATA = re.compile(r"^(?:ElementDataFile\s*=|data ?file:)(.+)$", re.MULTILINE | re.IGNORECASE)
X2CT_FILE = "ct_xray_data.h5"
X2CT_CUBE_MM = 320.0
"""Edge of the X2CT cube: 256 voxels of 1.25 mm. The file's own ``spacing`` key is stale and not used."""
X2CT_OFFSET_HU = 1024.0
CTSPINE1K_VOLUMES = ("raw_data/volumes", "rawdata/volumes", "volumes", "data")
CTSPINE1K_SERIES = re.compile(r"HN_P\d+|volume-covid19-A-\d+")
"""Names that may carry a series number after the patient, such as ``volume-covid19-A-0202_0_ct``."""


def find_folder(root: Path) -> Listing:
    """NIfTI, NRRD and MetaImage files at any depth; a file is a case and, by its name, a patient.

    Name a regular expression (``patient_pattern``) where one patient has several files.
    """
    return Listing([Scan(_id(f, root), _id(f, root), _relative(f, root), _with_data(f)) for f in _volume_files(root)])


def find_x2ct(root: Path) -> Listing:
    """``<case>/ct_xray_data.h5`` as in the public X2CT archive; the patient is the case up to its first dot."""
    files = sorted(root.glob(f"*/{X2CT_FILE}"))
    return Listing([Scan(safe_id(f.parent.name), lidc_patient(f.parent.name), _relative(f, root), (f,)) for f in files])


def read_x2ct(scan: Scan) -> CTVolume:
    """A cube of the X2CT archive, centred at the origin.

    ``ct`` holds HU + 1024, indexed (z, y, x) with z towards *inferior*, y posterior, x to the patient's left. These are
    left-handed axes: one flip of z makes them LPS (docs/method.md, 4).

    Raises:
        InputError: not HDF5, no ``ct``, not a cube, or not HU + 1024.
    """
    import h5py

    (path,) = scan.files
    try:
        with h5py.File(path, "r") as file:
            if not isinstance(file.get("ct"), h5py.Dataset):
                raise InputError(f"{path}: expected a data set 'ct', found {', '.join(file) or 'nothing'}")
            stored = np.asarray(file["ct"], dtype=np.float32)
    except OSError as error:
        raise InputError(f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]})") from None
    if stored.ndim != 3 or len(set(stored.shape)) != 1:
        raise InputError(f"{path}: expected 'ct' to be a cube of 256 voxels, found shape {stored.shape}")
    if not np.isfinite(stored).all() or stored.min() < -1.0 or stored.max() < 200.0:
        raise InputError(f"{path}: 'ct' holds {stored.min():g} ... {stored.max():g}, expected HU + 1024")
    spacing = X2CT_CUBE_MM / stored.shape[0]
    first = -(X2CT_CUBE_MM - spacing) / 2
    hu = np.ascontiguousarray(stored[::-1]) - X2CT_OFFSET_HU
    return CTVolume(hu, (spacing,) * 3, (first,) * 3, source=str(path))


def find_ctspine1k(root: Path) -> Listing:
    """The CT volumes of CTSpine1K: NIfTI, one folder per subset; a case is its file name, as in ``data_split.txt``.

    The data itself was not at hand. Relied upon: the published ``data_split.txt`` of ``MIRACLE-Center/CTSpine1K`` for
    the file names (``1.3.6.1.4.1.9328.50.4.0001``, ``CTC-1018399231``, ``HN_P001``, ``liver_0``,
    ``volume-covid19-A-0202_0_ct``, all ``.nii.gz``), and public descriptions for the folders: the Hugging Face copy
    ``alexanderdann/CTSpine1K`` has ``raw_data/volumes/<subset>/`` (elsewhere written ``rawdata``) and
    ``raw_data/labels/<subset>/*_seg.nii.gz`` with subsets COLONOG, COVID-19, HNSCC-3DCT-RT, MSD-T10; the original
    archive has ``data/<subset>/`` and ``label/<subset>/``. Labels are not read.
    """
    volumes = next((root / name for name in CTSPINE1K_VOLUMES if (root / name).is_dir()), root)
    files = [path for path in _volume_files(volumes) if not _stem(path).endswith("_seg")]
    return Listing([Scan(safe_id(_stem(f)), _ctspine1k_patient(_stem(f)), _relative(f, root), (f,)) for f in files])


def _ctspine1k_patient(name: str) -> str:
    several = CTSPINE1K_SERIES.match(name)
    return several[0] if several else name


def read_file(scan: Scan) -> CTVolume:
    """A scan that is one file of a format ITK knows."""
    return read_ct(scan.files[0])


@dataclass(frozen=True)
class Reader:
    """How to find and how to read the scans of a layout."""

    find: Callable[[Path], Listing]
    open: Callable[[Scan], CTVolume]

    def read(self, scan: Scan) -> CTVolume:
        """The volume of a scan.

        Raises:
            InputError: whatever is wrong with it.
        """
        with reading(scan.source, "scan"):
            return self.open(scan)


READERS: dict[str, Reader] = {
    "folder": Reader(find_folder, read_file),
    "dicom": Reader(dicom.find_series, dicom.read_series),
    "x2ct-hdf5": Reader(find_x2ct, read_x2ct),
    "ctspine1k": Reader(find_ctspine1k, read_file),
}


def _volume_files(root: Path) -> list[Path]:
    files = (path for path in root.rglob("*") if path.name.lower().endswith(VOLUME_SUFFIXES))
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def _with_data(path: Path) -> tuple[Path, ...]:
    """A file, and the one its text header refers to (``.mhd``, ``.nhdr``): both belong to its hash."""
    if path.suffix.lower() not in (".mhd", ".nhdr"):
        return (path,)
    try:
        name = DETACHED_DATA.search(path.read_text(encoding="latin-1"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    data = path.parent / name[1].strip() if name else path
    return (path, data) if data != path and data.is_file() else (path,)


def _stem(path: Path) -> str:
    suffix = next(suffix for suffix in VOLUME_SUFFIXES if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


def _id(path: Path, root: Path) -> str:
    return safe_id("__".join((*path.relative_to(root).parts[:-1], _stem(path))))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
