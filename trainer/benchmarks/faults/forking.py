"""Processes that start in milliseconds: a fork server that has imported already what they need (Linux; elsewhere, slow ones)."""

import multiprocessing
import os
import sys
from multiprocessing.context import BaseContext
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLACES = [str(HERE), str(HERE.parents[1] / "tests")]


def processes(*modules: str) -> BaseContext:
    """A context whose processes begin with these modules.

    The server takes neither our path nor our main module, whatever Python's documentation says of 3.11: hence the environment.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    os.environ["PYTHONPATH"] = os.pathsep.join([*PLACES, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(modules))
    return context
