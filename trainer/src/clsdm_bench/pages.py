"""Tables in pages of Markdown, between marks; never typed by hand."""

import re
from collections.abc import Mapping
from pathlib import Path

from clsdm.errors import InputError
from clsdm_trainer.files import write_text


def marks(name: str) -> tuple[str, str]:
    """The text before and behind a table in a page."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def publish(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables between their marks, each on a line of its own; those without marks are left out.

    Args:
        page: Markdown file.
        tables: Markdown by the marks' name.

    Raises:
        InputError: unreadable, or there are marks of none of them.
    """
    try:
        text = page.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{page}: cannot be read ({error.strerror})") from None
    found = 0
    for name, table in tables.items():
        begin, end = marks(name)
        between = re.compile(rf"^{re.escape(begin)}\n.*?^{re.escape(end)}$", re.MULTILINE | re.DOTALL)
        text, count = between.subn(f"{begin}\n{table.strip()}\n{end}".replace("\\", r"\\"), text)
        found += count
    if not found:
        expected = ", ".join(" and ".join(marks(name)) for name in tables)
        raise InputError(f"{page}: expected marks around a table, {expected}; found none")
    write_text(page, text)
