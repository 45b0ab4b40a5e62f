"""Tags of a DICOM file, read where they are used: a value that nobody needs cannot stop the reading."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

PROJECTIONS = ("CR", "DX", "XA", "RF", "RG", "DR", "RTIMAGE")
"""Modalities of radiographs."""
_UNREADABLE = (ValueError, TypeError, AttributeError, KeyError, IndexError, OverflowError, NotImplementedError)


class Tags:
    """A dataset and what was found unreadable in it.

    Attributes:
        dataset: as pydicom read it.
        path: of the file, for messages.
        unreadable: keywords of the values that were asked for and are not what their tag holds; they count as missing.
    """

    def __init__(self, dataset: Dataset, path: Path) -> None:
        self.dataset = dataset
        self.path = path
        self.unreadable: list[str] = []

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.dataset

    def value(self, keyword: str) -> Any:  # noqa: ANN401 - whatever the file holds
        """The value, or None where it is missing, empty or unreadable."""
        try:
            value = self.dataset.get(keyword)
        except _UNREADABLE:
            self._note(keyword)
            return None
        empty = isinstance(value, (str, bytes, list, MultiValue)) and not len(value)
        return None if empty else value

    def text(self, keyword: str) -> str:
        """A code string in capitals, the first of several; "" where missing."""
        value = self.value(keyword)
        if isinstance(value, (list, MultiValue)):
            value = value[0]
        return "" if value is None else str(value).strip().upper()

    def texts(self, keyword: str) -> list[str]:
        """All code strings of a tag, in capitals."""
        value = self.value(keyword)
        values = value if isinstance(value, (list, MultiValue)) else [] if value is None else [value]
        return [str(one).strip().upper() for one in values]

    def numbers(self, keyword: str) -> list[float]:
        """The numbers of a tag; empty where it is missing, or holds anything but finite numbers."""
        value = self.value(keyword)
        if value is None:
            return []
        try:
            values = [float(one) for one in (value if isinstance(value, (list, MultiValue)) else [value])]
        except _UNREADABLE:
            values = [math.nan]
        if all(map(math.isfinite, values)):
            return values
        self._note(keyword)
        return []

    def number(self, keyword: str) -> float | None:
        """The first number of a tag, or None."""
        return next(iter(self.numbers(keyword)), None)

    def count(self, keyword: str, otherwise: int = 0) -> int:
        """The first number of a tag as a whole one."""
        number = self.number(keyword)
        return otherwise if number is None else int(number)

    def items(self, keyword: str) -> list[Tags]:
        """The items of a sequence; what is unreadable in them is noted in this object."""
        value = self.value(keyword)
        found = []
        for item in value if isinstance(value, Iterable) and not isinstance(value, (str, bytes)) else ():
            if isinstance(item, Dataset):
                tags = Tags(item, self.path)
                tags.unreadable = self.unreadable
                found.append(tags)
        return found

    def _note(self, keyword: str) -> None:
        if keyword not in self.unreadable:
            self.unreadable.append(keyword)
