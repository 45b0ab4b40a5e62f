"""An index of models: which come with the program, which can be had elsewhere, and a sample case for each.

``Resources/Models/index.json`` is the one that ships; others of the same form lie in a file or at an https address.
"""

import reprlib
from dataclasses import dataclass, field
from typing import Any

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain, parse_json
from clsdm.limits import DOWNLOAD_BYTES, GRID_SIZE


@dataclass(frozen=True)
class Offer:
    """A model that can be downloaded.

    Attributes:
        id: its name.
        anatomy: what it was trained on, in words.
        voxels: edge of its cube.
        spacing_mm: voxel edge.
        licence: of the weights.
        bytes: size of its archive.
        sha256: of its archive.
        url: of its archive, https.
        version: its version; "" where the index does not say, and a model of that name that is here is taken for it.
    """

    id: str
    anatomy: str
    voxels: int
    spacing_mm: float
    licence: str
    bytes: int
    sha256: str
    url: str
    version: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith("https://") or "#" in self.url:
            raise InputError(f"url: expected an address that begins with https://, found {self.url!r:.80}")
        if len(self.sha256) != 64 or not set(self.sha256) <= set("0123456789abcdef"):
            raise InputError(f"sha256: expected 64 digits, found {self.sha256!r:.80}")
        sizes = {"bytes": (self.bytes, DOWNLOAD_BYTES), "voxels": (self.voxels, GRID_SIZE)}
        for name, (size, most) in sizes.items():
            if not 0 < size <= most:
                raise InputError(f"{name}: expected 1 to {most:,}, found {reprlib.repr(size)}")


@dataclass(frozen=True)
class Index:
    """An index.

    Attributes:
        models: names of the folders of embedded bundles, the default first; of the index that ships.
        offers: models elsewhere.
        samples: for models by name, which sample case shows them: "chest" (the public CT) or "phantom".
    """

    models: tuple[str, ...] = ()
    offers: tuple[Offer, ...] = ()
    samples: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        twice = [name for name in dict.fromkeys(self.models) if self.models.count(name) > 1]
        if twice:
            raise InputError(f"models: expected each name once, found twice: {', '.join(twice)}")


def index_of(data: bytes, where: str) -> Index:
    """An index out of its text.

    Raises:
        InputError: it is none; the message begins with ``where``.
    """
    return from_plain(Index, parse_json(data, where), where)
