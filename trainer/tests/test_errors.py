"""The border of the readers: one line for every failure, and nothing swallowed that is not one."""

import ast
import errno
import json
import re
import socket
import struct
import zlib
from collections.abc import Iterator
from email.message import Message
from urllib.error import HTTPError, URLError

import pytest
from places import REPOSITORY

from clsdm.errors import Cancelled, InputError, Remark, about, in_full, reading
from clsdm.failures import ReportedError, described, in_words
from clsdm.files.strict_json import from_plain
from clsdm.options import Options, choose_device
from clsdm.xray.notes import gathered


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


def test_what_an_error_is_about_is_told_by_a_field_not_by_its_words():
    with pytest.raises(InputError) as caught, about("model"):
        raise InputError("a.zip: no such bundle")
    assert described(caught.value)["field"] == "model"
    with pytest.raises(InputError) as caught, about("model"):
        raise InputError("device: there is none", field="device")
    told = described(caught.value)
    assert told["field"] == "device"
    assert described(ReportedError(told)) == told
    assert "field" not in described(ReportedError(told | {"field": "nonsense"}))
    for wrong in ({"steps": 0}, {"samples": 1}, {"seed": -1}):
        with pytest.raises(InputError) as caught:
            from_plain(Options, wrong, "request.options")
        assert described(caught.value)["field"] == "options"
    with pytest.raises(InputError) as caught:
        choose_device("tpu")
    assert described(caught.value)["field"] == "device"


def test_a_way_out_at_the_command_line_is_for_who_sits_there_only():
    error = InputError("x.png: the pixel spacing is unknown", "give it with --spacing")
    assert str(error) == "x.png: the pixel spacing is unknown; give it with --spacing"
    assert json.loads(json.dumps(described(error)))["message"] == "x.png: the pixel spacing is unknown"
    assert in_full(described(error)["message"]) == str(error)
    lines = gathered([("PA", Remark("dark?", "give --invert")), ("LL", Remark("image: odd", "try --frame 2"))], 2)
    assert [json.loads(json.dumps(line)) for line in lines] == ["PA: dark?", "image: odd (LL)"]
    assert [in_full(line) for line in lines] == ["PA: dark?; give --invert", "image: odd (LL); try --frame 2"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError(socket.gaierror(-2, "Name or service not known")), "no server of that name is found"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "nothing answers at that address"),
        (URLError(TimeoutError("timed out")), "no answer in time"),
        (URLError(OSError(101, "Network is unreachable")), "Network is unreachable"),
        (HTTPError("https://x", 404, "Not Found", Message(), None), "the server answers 404 Not Found"),
    ],
)
def test_what_is_wrong_with_a_download_is_said_in_words(error, said):
    assert (described(error)["message"], in_words(error)) == (said, said)


ROOMS_OF_COMMANDS = ("app", "pacs", "__main__.py")


def _options_outside_a_way_out(tree: ast.AST) -> Iterator[str]:
    """Texts that name an option of the command line, but for docstrings and second arguments of remarks and errors."""
    apart: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and re.search(r"(Remark|Error)$", ast.unparse(node.func)):
            apart |= {id(each) for way_out in node.args[1:] for each in ast.walk(way_out)}
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            apart.add(id(node.value))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in apart:
            yield from re.findall(r"(?<!\w)(?<!var\()--[a-z][a-z-]*(?![a-z-]*:)", node.value)  # those are of CSS


def test_no_text_for_all_readers_names_an_option_of_the_command_line():
    folder = REPOSITORY / "trainer" / "src" / "clsdm"
    found = {
        str(path.relative_to(folder)): options
        for path in sorted(folder.rglob("*.py"))
        if path.relative_to(folder).parts[0] not in (*ROOMS_OF_COMMANDS, "failures.py")  # the last line of a command
        and (options := list(_options_outside_a_way_out(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {}
