"""The border of the readers: one line for every failure, and nothing swallowed that is not one."""

import errno
import struct
import zlib

import pytest

from clsdm.errors import Cancelled, InputError, reading
from clsdm.failures import described


@pytest.mark.parametrize("error", [zlib.error, struct.error, KeyError, RecursionError, AssertionError, EOFError])
def test_any_failure_of_a_decoder_is_one_line_without_what_the_library_says(error):
    with pytest.raises(InputError, match=r"^a\.dcm: .*DICOM file") as caught, reading("a.dcm", "DICOM file"):
        raise error("Doe^Jane\nsecond line")
    assert "Doe" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_memory_and_the_system_are_named_for_what_they_are():
    with pytest.raises(InputError, match="more memory than there is"), reading("a.nii", "NIfTI file"):
        raise MemoryError
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\)"), reading("a.nii", "NIfTI file"):
        raise OSError(errno.EACCES, "Permission denied")


@pytest.mark.parametrize("error", [InputError("said already"), Cancelled(), KeyboardInterrupt()])
def test_what_was_said_already_and_what_the_user_asked_for_passes(error):
    with pytest.raises(type(error)) as caught, reading("a.dcm", "DICOM file"):
        raise error
    assert caught.value is error


def test_what_a_parent_is_told_is_one_line_without_control_characters():
    told = described(InputError("\x1b[31mred\nx: no such file"))
    assert told == {"kind": "input", "message": "\\x1b[31mred x: no such file", "details": ""}
