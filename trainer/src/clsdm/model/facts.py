"""A bundle in short, for whoever has to choose one: read from its manifest in milliseconds, without torch."""

from dataclasses import dataclass
from pathlib import Path

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.model.bundle_files import WEIGHTS, read_manifest, reader


@dataclass(frozen=True)
class Facts:
    """A model as its manifest describes it.

    Attributes:
        id: its name.
        version: its version.
        licence: of the weights.
        notice: what it must not be used for.
        anatomy: what it was trained on, in words.
        default_product: "mean", "sample" or "ensemble".
        steps: denoiser evaluations per sample by default.
        voxels: edge of its cube.
        spacing_mm: voxel edge.
        bytes: size of its files.
        sha256: of the weights.
    """

    id: str
    version: str
    licence: str
    notice: str
    anatomy: str
    default_product: str
    steps: int
    voxels: int
    spacing_mm: float
    bytes: int
    sha256: str


def facts_of(path: Path) -> Facts:
    """The facts of a bundle, folder or archive.

    Raises:
        InputError: no bundle, or damaged.
    """
    table, files = read_manifest(path, reader(path))
    try:
        sizes = table["model"]
        return Facts(
            id=str(table["id"]),
            version=str(table["version"]),
            licence=str(table["licence"]),
            notice=str(table.get("notice", NOTICE)),
            anatomy=str(table.get("trained_anatomy", "")),
            default_product=str(table.get("default_product", "mean")),
            steps=int(sizes["process"].get("steps", 1)),
            voxels=int(sizes["grid"]["size"]),
            spacing_mm=float(sizes["grid"]["spacing_mm"]),
            bytes=sum(entry.bytes for entry in files.values()),
            sha256=files[WEIGHTS].sha256,
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: its manifest lacks {error}") from None
