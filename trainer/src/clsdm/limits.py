"""The one table of limits: what is refused before memory, disk or time of that size is spent.

No X-ray, scan or model comes near these numbers; a damaged or hostile file may name any. Sizes are checked from a
header, before anything is allocated, so that reading what is refused never takes more than about 2 GB. What values are
*plausible* (spacings, distances, HU) is a question of physics and is answered elsewhere.
"""

import math
from collections.abc import Sequence

from clsdm.errors import InputError

# Images (X-rays) and volumes (CTs), by their headers.
IMAGE_EDGE = 16_384
"""Pixels. A stitched X-ray of a whole leg has about 10,000 rows."""
IMAGE_PIXELS = 48_000_000
"""Of one image. The finest panels and plates have about 20 million."""
IMAGE_BYTES = 512 * 2**20
"""Of one image as it is stored, all samples and frames."""
VOLUME_EDGE = 8_192
"""Voxels."""
VOLUME_VOXELS = 2**29
"""Of one scan: 512 x 512 x 2048. They are held as float32."""
VOLUME_BYTES = 2**31
"""Of one scan as it is stored."""
SERIES_FILES = 20_000
"""Files in a folder that is searched for a DICOM series."""
TREE_FILES = 2_000_000
"""Files in a tree that is searched for studies."""

# Compressed data. What a small file unpacks to is bounded by what its header says, and that by this:
EXPANSION = 100
"""Bytes from one compressed byte. A CT gives 2 to 10; deflate at its most, on zeros, about 1000."""
FREE_EXPANSION_BYTES = 64 * 2**20
"""Up to here anything may expand: an empty image does."""

# Text that is parsed.
JSON_BYTES = 16 * 2**20
"""Of a request, a record or the manifest of a bundle."""
TABLE_BYTES = 64 * 2**20
"""Of a table of patients."""
REQUEST_LINE_BYTES = 2**20
"""Of one line to the worker."""
REQUESTS_WAITING = 1000
"""Lines that the worker takes before it has answered any."""
SENT_BYTES, SENT_FILES = 2 * 2**30, 64
"""Of the arrays of one message between a server and its client, and how many of them."""
SENT_LEVELS = 64
"""Of objects and lists in each other in such a message."""
CLIENTS_WAITING, CONNECTIONS = 32, 64
"""Requests that a server keeps waiting, and connections that it takes."""
TRANSFER_S = 900.0
"""Seconds that sending one message may take."""
READ_OFF_BYTES, READ_OFF_S = 2**28, 10.0
"""Of a message that a server has refused, it takes so much, for so long, so that its client can hear why."""
HEADER_BYTES = 2**20
"""Of the text header of a MetaImage or NRRD file."""

# A PACS.
PACS_RESULTS = 10_000
"""Studies, series or images that a question may find."""
PACS_STUDIES = 1000
"""Studies whose X-rays are pulled at once."""
STUDY_XRAYS = 100
"""X-rays of one study."""
PACS_ANSWER_S = 900.0
"""Seconds that one answer may take."""

# Models.
WEIGHTS_BYTES = 2 * 2**30
"""Of the weights of a bundle; also how many bytes they may take as float32."""
BUNDLE_FILES = 1000
GRID_SIZE = 512
"""Voxels along the edge of a model's cube."""
DETECTOR_SIZE = 2048
"""Pixels along the edge of a model's virtual detector."""
LAYERS, CHANNELS = 64, 16_384
"""Entries of a list of layers, and channels or heads of one, in the description of a network."""
STEPS, TRAIN_STEPS = 1000, 100_000
"""Of sampling, and of the process that a denoiser was trained for."""
DOWNLOAD_BYTES = 4 * 2**30
"""Of a model that is fetched."""


def check_image_size(rows: int, cols: int, where: object, *, bits: int = 16, samples: int = 1) -> None:
    """Refuse an image by its header, before its pixels are read.

    Args:
        rows: height.
        cols: width.
        where: file, begins the message.
        bits: of one sample as it is stored.
        samples: of all frames and colours of a pixel.

    Raises:
        InputError: no image, or larger than any X-ray.
    """
    if min(rows, cols) < 1 or max(rows, cols) > IMAGE_EDGE or rows * cols > IMAGE_PIXELS:
        raise InputError(
            f"{where}: {rows} x {cols} pixels; expected an image of at most {IMAGE_PIXELS:,} pixels and {IMAGE_EDGE:,} "
            "along an edge"
        )
    check_bytes(rows * cols * samples * bits // 8, IMAGE_BYTES, where, "pixels")


def check_volume_size(shape: Sequence[int], where: object, *, bits: int = 16) -> None:
    """Refuse a volume by its header, before its voxels are read.

    Args:
        shape: voxels along each axis, in any order.
        where: file, begins the message.
        bits: of one voxel as it is stored.

    Raises:
        InputError: no volume, or larger than any scan.
    """
    voxels = math.prod(shape)
    if min(shape, default=0) < 1 or max(shape) > VOLUME_EDGE or voxels > VOLUME_VOXELS:
        raise InputError(
            f"{where}: {' x '.join(str(each) for each in shape)} voxels; expected a volume of at most "
            f"{VOLUME_VOXELS:,} voxels and {VOLUME_EDGE:,} along an edge"
        )
    check_bytes(voxels * bits // 8, VOLUME_BYTES, where, "voxels")


def check_bytes(found: int, most: int, where: object, what: str) -> None:
    """Refuse what is larger than a limit of this table.

    Args:
        found: bytes.
        most: the limit.
        where: file, begins the message.
        what: the bytes are of, like "voxels".

    Raises:
        InputError: larger.
    """
    if found > most:
        raise InputError(f"{where}: {found:,} bytes of {what}; expected at most {most:,}")


def check_expansion(packed: int, unpacked: int, where: object) -> None:
    """Refuse compressed data that say they unpack to far more than real data do.

    Args:
        packed: bytes in the file.
        unpacked: bytes they become, by the header.
        where: file, begins the message.

    Raises:
        InputError: more than ``EXPANSION`` times as many, where that is a lot.
    """
    if unpacked > FREE_EXPANSION_BYTES and unpacked > EXPANSION * packed:
        raise InputError(
            f"{where}: {packed:,} bytes that unpack to {unpacked:,}; expected at most {EXPANSION} times as many"
        )
