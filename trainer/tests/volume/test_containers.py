"""What a volume file holds against what its header says: length, checksum, size, and where the voxels are."""

import bz2
import gzip
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name

from clsdm.errors import InputError
from clsdm.volume.containers import check_container
from clsdm.volume.read import read_ct
from clsdm.xray.read import inspect_xray

SHAPE = (12, 14, 16)


@pytest.fixture
def hu() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1200, SHAPE).astype(np.int16)


def write(path: Path, hu: np.ndarray, *, packed: bool) -> Path:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((4.0, 5.0, 6.0))
    sitk.WriteImage(image, str(path), useCompression=packed)
    return path


FILES = {
    "nii": ("ct.nii", False),
    "nii.gz": ("ct.nii.gz", True),
    "mha": ("ct.mha", False),
    "mha, packed": ("ct.mha", True),
    "nrrd": ("ct.nrrd", False),
    "nrrd, packed": ("ct.nrrd", True),
    "mhd": ("ct.mhd", False),
    "mhd, packed": ("ct.mhd", True),
    "nhdr": ("ct.nhdr", False),
    "nhdr, packed": ("ct.nhdr", True),
}
ALL = pytest.mark.parametrize("name", FILES)


def written(tmp_path: Path, name: str, hu: np.ndarray) -> tuple[Path, Path]:
    """A file of the kind, and the file in which its voxels are."""
    file, packed = FILES[name]
    path = write(tmp_path / file, hu, packed=packed)
    data = [other for other in tmp_path.iterdir() if other != path]
    return path, data[0] if data else path


@ALL
def test_a_good_file_is_read(name: str, tmp_path: Path, hu: np.ndarray):
    path, _ = written(tmp_path, name, hu)
    np.testing.assert_array_equal(read_ct(path).hu, hu)


@ALL
@pytest.mark.parametrize("cut", [1, 100, 3000, 0])
def test_a_file_that_is_shorter_or_longer_than_its_header_says_is_refused(name, cut, tmp_path: Path, hu: np.ndarray):
    path, data = written(tmp_path, name, hu)
    whole = data.read_bytes()
    data.write_bytes(whole[:-cut] if cut else whole + b"something else")
    with pytest.raises(InputError, match="truncated" if cut else r"more voxels|truncated or damaged"):
        read_ct(path)


@pytest.mark.parametrize("name", [name for name, (_, packed) in FILES.items() if packed])
def test_one_changed_bit_is_refused_wherever_a_checksum_covers_it(name: str, tmp_path: Path, hu: np.ndarray):
    """Header text and gzip's own header (time, system) have no checksum: there the voxels must be those of the file."""
    path, data = written(tmp_path, name, hu)
    good = data.read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for at in random.integers(0, len(good), 60):
        changed = bytearray(good)
        changed[at] ^= 1 << int(random.integers(8))
        data.write_bytes(changed)
        try:
            ct = read_ct(path)
        except InputError:
            refused += 1
        else:
            np.testing.assert_array_equal(ct.hu, hu)
    assert refused > 50


def edited(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))


def nifti_dims(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[42:48] = np.array([30000, 30000, 30000], "<i2").tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "enlarge"),
    [
        ("nii", nifti_dims),
        ("nii.gz", lambda path: (path.write_bytes(gzip.decompress(path.read_bytes())), nifti_dims(path), zip_up(path))),
        ("mha", lambda path: edited(path, b"16 14 12", b"3000 3000 3000")),
        ("mha, packed", lambda path: edited(path, b"16 14 12", b"3000 3000 3000")),
        ("nrrd", lambda path: edited(path, b"16 14 12", b"3000 3000 3000")),
        ("nrrd, packed", lambda path: edited(path, b"16 14 12", b"800 800 800")),
        ("mha, packed", lambda path: edited(path, b"16 14 12", b"800 800 800")),
    ],
)
def test_a_header_that_asks_for_gigabytes_gets_none(name, enlarge, tmp_path, hu):
    path, _ = written(tmp_path, name, hu)
    enlarge(path)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"expected (a volume )?(of )?at most"):
        read_ct(path)
    assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    tracemalloc.stop()


def zip_up(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def test_bzip2_and_a_byte_skip_are_counted_right(tmp_path: Path, hu: np.ndarray):
    head = "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 16 14 12\nendian: little\n"
    head += "space directions: (4,0,0) (0,5,0) (0,0,6)\nspace origin: (0,0,0)\n"
    packed = bytearray((head + "encoding: bzip2\n\n").encode() + bz2.compress(hu.tobytes()))
    (tmp_path / "ct.nrrd").write_bytes(packed)
    check_container(tmp_path / "ct.nrrd")
    packed[-40] ^= 4
    (tmp_path / "ct.nrrd").write_bytes(packed)
    with pytest.raises(InputError, match="truncated or damaged"):
        check_container(tmp_path / "ct.nrrd")
    for skip, junk in ((7, b"1234567"), (-1, b"anything in front")):
        (tmp_path / "ct.nhdr").write_text(head + f"byte skip: {skip}\nencoding: raw\ndata file: ct.raw\n")
        (tmp_path / "ct.raw").write_bytes(junk + hu.tobytes())
        np.testing.assert_array_equal(read_ct(tmp_path / "ct.nhdr").hu, hu)


def test_a_compressed_size_that_is_missing_or_wrong_is_refused(tmp_path: Path, hu: np.ndarray):
    """ITK would read that many bytes and hand over whatever its memory held."""
    path = write(tmp_path / "ct.mha", hu, packed=True)
    good = path.read_bytes()
    path.write_bytes(good.replace(b"CompressedDataSize", b"CompressedDataSice"))
    with pytest.raises(InputError, match="CompressedDataSize is missing"):
        read_ct(path)
    head, _, rest = good.partition(b"CompressedDataSize = ")
    path.write_bytes(head + b"CompressedDataSize = 22" + rest[rest.index(b"\n") :])
    with pytest.raises(InputError, match="more voxels than its header says: found"):
        read_ct(path)


@pytest.mark.parametrize(
    ("name", "pattern", "value", "says"),
    [
        ("mha", rb"NDims = \d", b"NDims = 95", "3 sizes in '95' dimensions"),
        ("mha", rb"NDims = \d", b"NDims = -1", "3 sizes in '-1' dimensions"),
        ("mha", rb"NDims = \d", b"NDims = 100000 100000", "3 sizes in"),
        ("mha, packed", rb"ElementSpacing = [^\n]*", b"ElementSpacing = 4 nan 6", "ElementSpacing is '4 nan 6'"),
        ("mha", rb"ElementSpacing =", b"no value\nElementSpacing =", "a header line 'no value' before ElementSpacing"),
        ("mhd", rb"Offset = [^\n]*", b"Offset = 0 0 inf", "Offset is"),
        ("nrrd", rb"dimension: \d", b"dimension: " + b"x" * 100_000, "a header line of 100011 characters"),
        ("nrrd", rb"dimension: \d", b"dimension: x", "3 sizes in 'x' dimensions"),
        ("nrrd, packed", rb"space origin: [^\n]*", b"space origin: (0,x,0)", "space origin is"),
        ("nrrd, packed", rb"encoding: [^\n]*", b"encoding: " + b"x" * 100_000, "a header line of"),
        ("nhdr", rb"space directions: [^\n]*", b"space directions: (4,0,0) (0,5,0) (0,0,nan)", "space directions is"),
    ],
)
def test_a_header_over_which_itk_would_fall_is_refused_before_itk_sees_it(name, pattern, value, says, tmp_path, hu):
    path, _ = written(tmp_path, name, hu)
    changed, count = re.subn(pattern, value, path.read_bytes(), count=1)
    assert count == 1
    path.write_bytes(changed)
    with pytest.raises(InputError, match=says):
        read_ct(path)
    with pytest.raises(InputError, match=says):
        inspect_xray(path, 0.0)


@pytest.mark.parametrize(("name", "field"), [("mha", rb"ElementSpacing = .*\n"), ("nhdr", rb"space directions: .*\n")])
def test_a_volume_that_states_no_spacing_is_refused(name: str, field: bytes, tmp_path: Path, hu: np.ndarray):
    path, _ = written(tmp_path, name, hu)
    without, count = re.subn(field, b"", path.read_bytes(), count=1)
    assert count == 1
    path.write_bytes(without)
    with pytest.raises(InputError, match="states no voxel spacing"):
        read_ct(path)
