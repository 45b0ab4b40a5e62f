"""Errors and remarks a user can act on.

Everything that is wrong with what a user handed in is an :class:`InputError` with a message of one line that names the
file, tag or field, what was found and what was expected. The command line prints that line and exits with code 2.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Remark(str):
    """A text for whoever reads it. What to do about it at the command line stands apart: other readers have no options.

    As a text, in JSON too, it is without; :func:`in_full` is with.

    Attributes:
        way_out: what to do, by the options of the command line, or "".
    """

    way_out: str

    def __new__(cls, text: str, way_out: str = "") -> Remark:
        made = super().__new__(cls, text)
        made.way_out = way_out
        return made

    def changed(self, change: Callable[[str], str]) -> Remark:
        """With both texts put through a function."""
        return Remark(change(str(self)), change(self.way_out))


def way_out_of(text: str) -> str:
    """A :class:`Remark`'s way out; "" of any other text."""
    return text.way_out if isinstance(text, Remark) else ""


def in_full(text: str) -> str:
    """A text for who sits at the command line: a :class:`Remark` with its way out."""
    way_out = way_out_of(text)
    return f"{text}; {way_out}" if way_out else str(text)


class InputError(Exception):
    """The input cannot be used; the message says which part, what was found and what was expected.

    Attributes:
        remark: what is wrong, and what to do about it; ``str`` of the error is that in full.
        field: what it is about, one of ``clsdm.failures.FIELDS`` or, of wrong settings, ``SETTINGS``; "" where neither.
    """

    def __init__(self, text: str = "", way_out: str = "", field: str = "") -> None:
        self.remark, self.field = Remark(text, way_out), field
        super().__init__(in_full(self.remark))


@contextmanager
def about(field: str) -> Iterator[None]:
    """Whatever cannot be used in here is about this (see :class:`InputError`), unless it says more precisely itself."""
    try:
        yield
    except InputError as error:
        error.field = error.field or field
        raise


class Cancelled(Exception):  # noqa: N818 - not an error: the user asked for it
    """The user cancelled a long computation."""


def printable(text: str) -> str:
    """Text as a terminal may be given it: control characters, which could move its cursor or rewrite what stands there,
    and those that turn the direction of writing, are spelled out. Line ends and tabs stay."""
    return "".join(
        letter.encode("unicode_escape").decode("ascii")
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\n\t"
        else letter
        for letter in text
    )


@contextmanager
def reading(path: object, kind: str) -> Iterator[None]:
    """The border of a reader: whatever a damaged file makes its decoders raise becomes the one-line refusal.

    The message tells the kind of the failure only, since what a library says of it may hold a patient's name.

    Args:
        path: file or scan, begins the message.
        kind: of file, like "DICOM file".

    Raises:
        InputError: in place of any exception but itself and ``Cancelled``.
    """
    try:
        yield
    except (InputError, Cancelled):
        raise
    except MemoryError as error:
        raise InputError(f"{path}: reading this {kind} takes more memory than there is") from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:  # the system's; a decoder's has no number
            raise InputError(f"{path}: cannot be read ({error.strerror})") from error
        raise InputError(f"{path}: truncated or damaged {kind} ({type(error).__name__} while reading)") from error


def no_formula(text: str) -> str:
    """A text from outside as a cell of a CSV file: what a spreadsheet would run as a formula is quoted."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
