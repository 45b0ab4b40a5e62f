"""Errors a user can act on.

Everything that is wrong with what a user handed in is an :class:`InputError` with a message of one line that names the
file, tag or field, what was found and what was expected. The command line prints that line and exits with code 2.
"""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager


class InputError(Exception):
    """The input cannot be used; the message says which part, what was found and what was expected.

    Attributes:
        text: what is wrong, for whoever reads it.
        way_out: what to do about it, by the options of the command line, or ""; ``str`` of the error says both.
    """

    def __init__(self, text: str = "", way_out: str = "") -> None:
        super().__init__(f"{text}; {way_out}" if way_out else text)
        self.text, self.way_out = text, way_out


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
