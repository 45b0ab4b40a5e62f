"""Common to the scripts here: processes that start in milliseconds, and the table of what became of everything."""

import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from multiprocessing.context import BaseContext
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACES = [str(HERE), str(HERE.parents[1] / "tests")]


def processes(*modules: str) -> BaseContext:
    """A context whose processes begin with these modules: a fork server has imported them (Linux; elsewhere, slow ones).

    The server takes neither our path nor our main module, whatever Python's documentation says of 3.11: hence the environment.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONPATH"] = os.pathsep.join([*PLACES, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context


def table(heads: Sequence[str], rows: Mapping[str, Counter[str]], columns: Sequence[str]) -> str:
    """Counts as Markdown: of each row, how many there are and how many of each column."""
    from clsdm_trainer.figures import markdown_table

    cells = ([name, str(row.total()), *(str(row[each]) for each in columns)] for name, row in rows.items())
    return markdown_table([*heads, *columns], cells)
