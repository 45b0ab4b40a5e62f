"""Names from outside lead nowhere else, and what is read is a file that ends."""

import os
import socket
import sys
from pathlib import Path

import pytest

from clsdm.errors import InputError
from clsdm.files.names import (
    files_below,
    given_path,
    inside,
    nameless,
    of_another_system,
    plain_name,
    refuse_overwriting,
    regular_file,
    regular_files,
)

LEADING_ELSEWHERE = ["..", ".", "", "../x", "a/../../x", "/etc/passwd", "C:x", "C:\\x", "a\\b", "..\\x", "a/", "//x"]


@pytest.mark.parametrize("name", [*LEADING_ELSEWHERE, "a/b", "x\0.json", "x\n", "\x1b[31m", "\ud800", "NUL", "con.txt",
                                  "lpt1", "COM¹", "conin$", "a.", "a ", "a*", "x" * 256, "é" * 128])  # fmt: skip
def test_what_is_no_plain_name_of_a_file_is_refused(name):
    with pytest.raises(InputError, match=r"^request\.name: .*expected the plain name of a file$"):
        plain_name(name, "request.name")


@pytest.mark.parametrize("name", ["model", "chest-1.0_abc.zip", ".hidden", "Ångström 5", "x" * 255, "console", "a..b"])
def test_a_plain_name_stays_as_it_is(name):
    assert plain_name(name, "request.name") == name


@pytest.mark.parametrize("name", LEADING_ELSEWHERE)
def test_nothing_leads_out_of_a_folder(name, tmp_path):
    with pytest.raises(InputError):
        inside(tmp_path, name, "files")


def test_a_name_in_a_folder_below_is_found_and_a_link_to_outside_is_not(tmp_path):
    folder = tmp_path / "bundle"
    (folder / "more").mkdir(parents=True)
    assert inside(folder, "more/card.md", "files") == folder / "more" / "card.md"
    (folder / "out").symlink_to(tmp_path)
    with pytest.raises(InputError, match="a link to outside"):
        inside(folder, "out/x", "files")


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800"])
def test_a_path_that_is_empty_or_impossible_is_refused(text):
    with pytest.raises(InputError, match=r"^--bundle: "):
        given_path(text, "--bundle")


@pytest.mark.parametrize("text", ["C:\\x", "c:/x", "\\\\server\\share"])
def test_an_absolute_path_of_another_system_is_one(text):
    assert of_another_system(text, windows=False)
    assert not of_another_system(text, windows=True)
    assert of_another_system("/home/x", windows=True)
    assert not any(of_another_system(each, windows=os.name == "nt") for each in ("x", "a:b", str(Path.cwd())))
    if os.name != "nt":
        with pytest.raises(InputError, match=r"^--out: .* is a path of another system"):
            given_path(text, "--out")


@pytest.mark.skipif(sys.platform == "win32", reason="needs special files")
def test_a_special_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        for name, found in (("fifo", "FIFO"), ("link", "FIFO"), ("s", "socket")):
            with pytest.raises(InputError, match=rf"{name}: a {found}, expected a request$"):
                regular_file(tmp_path / name, "request")
    with pytest.raises(InputError, match=r"/dev/null: a device"):
        regular_file("/dev/null")
    (tmp_path / "file").write_bytes(b"")
    assert [path.name for path in regular_files(tmp_path, 3)] == ["file"]


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(InputError, match="a folder, expected a bundle"):
        regular_file(tmp_path, "bundle")
    with pytest.raises(InputError, match="no such file"):
        regular_file(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        regular_file(tmp_path / ("x" * 5000))


def test_a_folder_of_too_many_files_is_refused(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="holds 3 files; expected at most 2"):
        regular_files(tmp_path, 2)


@pytest.mark.parametrize("how", ["same", "dots", "symlink", "hardlink", "folder link"])
def test_an_output_that_is_an_input_by_any_name_is_refused(how, tmp_path):
    (tmp_path / "films").mkdir()
    film = tmp_path / "films" / "f.nii"
    film.write_bytes(b"film")
    (tmp_path / "other").symlink_to(tmp_path / "films")
    link = tmp_path / "r.nii"
    if how == "symlink":
        link.symlink_to(film)
    elif how == "hardlink":
        link.hardlink_to(film)
    output = {
        "same": film, "dots": tmp_path / "films" / ".." / "films" / "f.nii", "folder link": tmp_path / "other" / "f.nii"
    }.get(how, link)  # fmt: skip
    with pytest.raises(InputError, match="would be written over"):
        refuse_overwriting([tmp_path / "new.nii", output], [film, tmp_path / "missing"])
    refuse_overwriting([tmp_path / "new.nii"], [film])


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_to_folders_are_followed_and_each_folder_is_looked_at_once(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere" / "in").mkdir(parents=True)
    for file in ("a/1", "a/deep/2", "elsewhere/3", "elsewhere/in/4"):
        (tmp_path / file).touch()
    (tmp_path / "a" / "deep" / "up").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "deep")
    (tmp_path / "a" / "away").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "a" / "lost").symlink_to(tmp_path / "nowhere")
    found = [path.relative_to(tmp_path / "a").as_posix() for path in files_below(tmp_path / "a", 100)]
    assert found == ["1", "away/3", "away/in/4", "deep/2"]


def test_a_replacement_that_holds_another_path_is_not_replaced_again() -> None:
    names = {"X-ray 1": "/in/Ann X-ray 2.dcm", "X-ray 2": "/in/Ann X-ray 1.dcm"}
    told = nameless("X-ray 1: disagrees; X-ray 2: X-ray 10", names)
    assert told == "/in/Ann X-ray 2.dcm: disagrees; /in/Ann X-ray 1.dcm: X-ray 10"
    back = nameless(told, {path: label for label, path in names.items()})
    assert back == "X-ray 1: disagrees; X-ray 2: X-ray 10"
    assert nameless("X-ray 1", {}) == "X-ray 1"
