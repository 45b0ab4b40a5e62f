"""A JPEG holds as many codes as pixels, and a file with more or fewer is found out; libjpeg makes no word of it."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clsdm.files.jpeg_codes import fault


def jpeg(rows: int, cols: int, colours: bool = False, **how: Any) -> bytes:
    y, x = np.mgrid[:rows, :cols]
    grey = 128 + 60 * np.sin(x / 9) + 40 * np.cos(y / 7) + np.random.default_rng(0).normal(0, 9, (rows, cols))
    pixels = grey.clip(0, 255).astype(np.uint8)
    pixels[-20:] = 255
    file = io.BytesIO()
    Image.fromarray(np.stack([pixels, pixels.T.reshape(rows, cols), pixels], -1) if colours else pixels).save(
        file, "JPEG", **how
    )
    return file.getvalue()


WHOLE = {
    "grey": jpeg(64, 64),
    "odd size": jpeg(61, 83, quality=30),
    "one pixel": jpeg(1, 1),
    "best": jpeg(64, 64, quality=100),
    "own tables": jpeg(90, 64, optimize=True),
    "colours": jpeg(61, 83, colours=True, quality=90),
    "fewer colours": jpeg(61, 83, colours=True, subsampling=2, optimize=True),
    "restarts": jpeg(61, 83, colours=True, restart_marker_blocks=5),
    "restarts of rows": jpeg(61, 83, restart_marker_rows=1),
    "filler before its end": jpeg(64, 64)[:-2] + b"\xff\xff\xff\xd9",
    "something behind its end": jpeg(64, 64) + bytes(1000),
    "progressive, which is not counted": jpeg(64, 64, progressive=True),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_file_has_no_fault(name):
    assert fault(WHOLE[name]) == ""


def with_rows(data: bytes, rows: int, offset: int = 5) -> bytes:
    at = data.index(b"\xff\xc0") + offset
    return data[:at] + rows.to_bytes(2, "big") + data[at + 2 :]


def with_cols(data: bytes, cols: int) -> bytes:
    return with_rows(data, cols, 7)


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (with_rows(WHOLE["grey"], 72), "end before"),
        (with_rows(WHOLE["grey"], 56), "left behind"),
        (with_cols(WHOLE["grey"], 72), "end before"),
        (with_cols(WHOLE["colours"], 72), "left behind"),
        (with_rows(WHOLE["restarts of rows"], 69), "contradict"),
        (WHOLE["grey"][:-4] + WHOLE["grey"][-2:], "end before"),
        (WHOLE["grey"][:-2] + b"\x2a" + WHOLE["grey"][-2:], "left behind"),
        (WHOLE["grey"].replace(b"\xff\xda", b"\0\xff\xda"), "contradict"),
        (WHOLE["grey"][:-2], "contradict"),
        (WHOLE["own tables"][:700] + b"\xfe" * 30 + WHOLE["own tables"][730:], ""),
    ],
)
def test_codes_that_are_not_as_many_as_the_pixels_are_found_out(damaged, said):
    assert said in fault(damaged)
    assert fault(damaged) != ""
