"""Many patients: the rows of a table, or the studies in a tree of DICOM files.

A table is a CSV file with a column ``case``, which names the folder of the results, and a column for each option of
``clsdm reconstruct`` that is about X-rays, without its dashes: frontal, lateral, view, localizers, spacing,
lateral-spacing, flip ... Paths are relative to the table. What a row leaves empty is as the command line says.

In a tree, the best pair of each study is taken, by the rule of ``clsdm.xray.pair``; a study is named by a hash, because a
folder's name should not say whose it is.
"""

import argparse
import csv
import io
import unicodedata
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from clsdm.app.geometry_options import add_xray_options
from clsdm.app.request import Request
from clsdm.app.words import in_table
from clsdm.errors import InputError
from clsdm.files.dicom_open import open_dicom
from clsdm.files.names import files_below, nameless, plain_name, regular_file
from clsdm.limits import TABLE_BYTES, TREE_FILES, check_bytes
from clsdm.progress import Report
from clsdm.xray.dicom import NO_PROJECTIONS, is_dicom
from clsdm.xray.pair import StudyPair, pairs_by_study, study_name
from clsdm.xray.read import XRayHeader, inspect_xray

PATHS, LISTS = ("frontal", "lateral", "view", "localizers"), ("view", "flip", "turn")
YES, NO = ("yes", "true", "1"), ("no", "false", "0")
SUMMARY = ("summary.csv", "index.html")
"""The files that tell of all patients."""
RequestOf = Callable[[str, dict[str, Any]], Request]
"""(name of a case, options of the command line that are its own) -> what to reconstruct."""


@dataclass(frozen=True)
class Case:
    """One patient of many.

    Attributes:
        name: of the folder of its results.
        request: what to reconstruct, or None where there is no pair of X-rays.
        problem: why there is none.
        notes: on the choice of its X-rays.
        cells: where the table names each of its files, by their paths.
    """

    name: str
    request: Request | None
    problem: str = ""
    notes: tuple[str, ...] = ()
    cells: dict[str, str] = field(default_factory=dict)


def cases_of_table(table: Path, request_of: RequestOf) -> list[Case]:
    """The patients of a CSV file.

    Raises:
        InputError: not a table, an unknown column, a case without a name or with another's, or an impossible value.
    """
    cases: dict[str, Case] = {}
    folder = table.absolute().parent
    for line, row in _rows(table):
        where = f"{table}: {line}"
        name = folder_name(row.pop("case", ""), cases, f"{where}: case")
        cells = {str(folder / cell): f"{line}, column {column}" for column, cell in _files(row) if cell}
        try:
            cases[folded(name)] = Case(name, request_of(name, _given(row, folder)), cells=cells)
        except InputError as error:
            raise InputError(f"{where}: {in_table(str(error))}") from None
    if not cases:
        raise InputError(f"{table}: holds no patients; expected a line for each below the names of the columns")
    return list(cases.values())


def with_files(case: Case, text: str) -> str:
    """A problem of a patient, which names cells of the table, for who sits at the terminal: with the files in them."""
    paths = {cell: f"{cell} ({path})" for path, cell in case.cells.items()}
    return nameless(text, {cell: both for cell, both in paths.items() if list(case.cells.values()).count(cell) == 1})


def folder_name(name: str, known: Collection[str], where: str) -> str:
    """``name`` if it can be that of the folder of a patient's results.

    Args:
        name: from outside.
        known: those that are there, as :func:`folded` gives them.
        where: what named it, begins the message.

    Raises:
        InputError: it cannot, or it is there, or of the files that tell of all.
    """
    if folded(plain_name(name, where)) in known:
        raise InputError(f"{where} {name!r} is there already; expected a name for each patient")
    if folded(name) in SUMMARY:
        raise InputError(f"{where} {name!r} has the name of a file that is written beside the patients' folders")
    return name


def folded(name: str) -> str:
    """The same for all names that some system takes for one folder: letters of either case, accents of their own or not."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _rows(table: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The line of each row, and its filled cells by the names of their columns."""
    check_bytes(regular_file(table, "table").stat().st_size, TABLE_BYTES, table, "a table")
    try:
        text = table.read_bytes().decode("utf-8-sig")
        header = next(iter(io.StringIO(text, newline="")), "")
        separator = next((mark for mark in ";\t" if mark in header), ",")
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        names = [name.strip().replace("_", "-") for name in reader.fieldnames or ()]
        if names and "case" not in names:
            found = ", ".join(map(repr, names[:5]))
            raise InputError(
                f"{table}: no column case, but {found:.200}; expected columns apart by commas, semicolons or tabs"
            )
        if double := next((name for name in names if name and names.count(name) > 1), None):
            raise InputError(f"{table}: column {double} is there twice; expected each column once")
        reader.fieldnames = names
        for row in reader:
            line = f"line {reader.line_num}"
            if any(cell.strip() for cell in row.pop(None, None) or ()):
                raise InputError(f"{table}: {line}: has more cells than there are columns")
            filled = {key: value.strip() for key, value in row.items() if value and value.strip()}
            if "" in filled:
                raise InputError(f"{table}: {line}: {filled['']!r:.60} stands below no column's name")
            if filled:  # else a line that a spreadsheet has left empty
                yield line, filled
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: not a table of comma-separated values in UTF-8 ({error})") from None


def _files(row: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The column of each file that a row names."""
    for column in PATHS:
        for cell in _cells(column, row.get(column, "")):
            yield column, cell.rpartition(":")[0] if column == "view" else cell


def _cells(column: str, text: str) -> list[str]:
    return [each.strip() for each in text.split(";")] if column in LISTS else [text]


class _Row(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(in_table(message))


def _given(row: dict[str, str], folder: Path) -> dict[str, Any]:
    """The options that a row gives, by the command line's own rules."""
    parser = _Row(add_help=False, allow_abbrev=False)
    add_xray_options(parser)
    words: list[str] = []
    for name, text in row.items():
        if name.endswith("spacing"):
            words += [f"--{name}", *text.split()]
        elif name.endswith("invert"):
            words.append(_switch(name, text))
        else:
            words += [f"--{name}={folder / cell if name in PATHS else cell}" for cell in _cells(name, text)]
    return {name: value for name, value in vars(parser.parse_args(words)).items() if value not in (None, [])}


def _switch(name: str, text: str) -> str:
    if text.lower() not in (*YES, *NO):
        raise InputError(f"column {name}: expected yes or no, found {text!r}")
    return f"--{name}" if text.lower() in YES else f"--no-{name}"


def cases_of_studies(tree: Path, request_of: RequestOf, report: Report) -> list[Case]:
    """The studies in a tree of DICOM files, each with its best pair of X-rays.

    Raises:
        InputError: no folder, or no X-ray that says from where it was taken is in it.
    """
    if not tree.is_dir():
        raise InputError(f"{tree}: no such folder; expected one with DICOM files")
    paths, headers = [], []
    files = files_below(tree, TREE_FILES)
    for number, path in enumerate(files, 1):
        if (header := _header(path)) is not None and header.likely_angle_deg is not None:
            paths.append(path)
            headers.append(header)
        report("find X-rays", number, len(files))
    if not headers:
        raise InputError(f"{tree}: no DICOM radiograph in it says from where it was taken; use --table")
    return [_case(owner, pair, paths, request_of) for owner, pair in pairs_by_study(headers).items()]


def _case(owner: tuple[str, str | None], pair: StudyPair, paths: list[Path], request_of: RequestOf) -> Case:
    name = study_name(owner)
    if pair.frontal is None or pair.lateral is None:
        missing = "frontal" if pair.frontal is None else "lateral"
        return Case(name, None, f"no {missing} X-ray is in this study; to use one alone, name it in a table")
    files = {"frontal": str(paths[pair.frontal]), "lateral": str(paths[pair.lateral])}
    return Case(name, request_of(name, files), notes=pair.notes)


def _header(path: Path) -> XRayHeader | None:
    """Of a radiograph; None for anything else, a slice or a localizer of a CT too."""
    try:
        if (
            not is_dicom(path)
            or str(open_dicom(path, pixels=False, tags=["Modality"]).get("Modality")) in NO_PROJECTIONS
        ):
            return None
        return inspect_xray(path)
    except (InputError, OSError):
        return None
