"""The model that was used last stays loaded: for the worker, for many patients, and for calls from Python alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsdm.errors import about
from clsdm.progress import Report

if TYPE_CHECKING:
    from clsdm.model.bundle import Bundle
    from clsdm.model.clsdm import CLSDM


class Warm:
    """The bundle and the networks that were used last."""

    def __init__(self) -> None:
        self._bundle: tuple[tuple[Any, ...], Bundle] | None = None
        self._model: tuple[tuple[Any, ...], CLSDM] | None = None

    @about("model")
    def bundle(self, path: str | None) -> Bundle:
        """The bundle at ``path`` (see ``Bundle.open``), opened and verified anew if any of its files changed.

        Raises:
            InputError: missing or damaged.
        """
        from clsdm.model.bundle import Bundle, bundle_path

        where = bundle_path(path)
        state = _state_of(where)
        if self._bundle is None or self._bundle[0] != state:
            self.forget()
            self._bundle = (state, Bundle.open(where))
        return self._bundle[1]

    @about("model")
    def model(self, bundle: Bundle, device: Any, report: Report) -> CLSDM:  # noqa: ANN401 - torch.device
        """The bundle's networks on ``device``."""
        state = (*_state_of(bundle.path), str(device))
        if self._model is None or self._model[0] != state:
            report("load model", 0, 1)
            self._model = None  # before the next one is made: two may not fit
            self._model = (state, bundle.model(device))
            report("load model", 1, 1)
        return self._model[1]

    def forget(self) -> None:
        """Let go of everything, memory of the GPU included."""
        self._bundle = self._model = None
        if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def _state_of(path: Path) -> tuple[Any, ...]:
    """Names, sizes and times of a bundle's files, which change when the bundle does."""
    files = sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
    return str(path), *((each.name, each.stat().st_size, each.stat().st_mtime_ns) for each in files if each.exists())


WARM = Warm()
"""Of this process."""
