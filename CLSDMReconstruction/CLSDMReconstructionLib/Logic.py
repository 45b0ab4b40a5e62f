"""What the module can do, without a GUI: reconstruct, simulate X-rays, compare, preview; blocking or with callbacks.

Work is done by the worker (``InferenceProcess``); nodes are made only when everything they need is there, so a run that
fails, is cancelled or outlived by its scene leaves the scene as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OnProgress = Callable[["Run"], None]
OnFinished = Callable[["Run"], None]
OnError = Callable[["Run"], None]
OnLog = Callable[[str], None]


class ReconstructionError(Exception):
    """Why a run failed.

    Attributes:
        kind: "input", "memory", "disk", "crash", "missing" (a Python package), "cancelled", "defect".
        message: what happened, in a sentence.
        advice: what to do, in a sentence.
        details: the log's end, for the curious.
        offers: arguments of ``reconstruct`` that would probably do, lightest change first, as (label, changes) such as
            ("Use the CPU", {"device": "cpu"}); for buttons.
    """

    def __init__(
        self, kind: str, message: str, advice: str = "", details: str = "", offers: tuple[tuple[str, dict], ...] = ()
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.advice, self.details, self.offers = kind, message, advice, details, offers


@dataclass
class Run:
    """One piece of work.

    Attributes:
        task: "reconstruct", "simulate", "compare", "preview", "hello", "bundle", "install".
        state: "running" (also while it waits for another), "finished", "failed", "cancelled".
        stage: name of the step at work, in words for the user.
        done: steps done of this stage.
        total: steps of this stage.
        fraction: 0 to 1 of the whole run, never falling.
        result: what the task makes.
        error: when failed.
        log: every line, without any path or name of the patient.
    """

    task: str
    state: str = "running"
    stage: str = ""
    done: int = 0
    total: int = 0
    fraction: float = 0.0
    result: Any = None
    error: ReconstructionError | None = None
    log: list[str] = field(default_factory=list)

    def cancel(self) -> None:
        """Stop it; nothing of it is left. Without effect when it has ended."""


@dataclass(frozen=True)
class ReconstructionResult:
    """What ``reconstruct`` made.

    Attributes:
        volumeNode: HU.
        coverageNode: number of views that crossed each voxel.
        spreadNode: standard deviation in HU over an ensemble's samples, else None.
        residuals: for each view {"angle_deg", "rmse", "correlation"}.
        warnings: what the user should know.
        provenance: plain JSON types.
        reprojections: for each view {"angle_deg", "input": 2-D array, "reprojected": 2-D array}, NaN where not measured.
        views: geometry of each view (``clsdm.geometry.View`` as a dict, with "origins").
        inputs: the XRayInputs it was made from.
        seconds: wall time from click to nodes, of it the core's own under "core".
    """

    volumeNode: Any
    coverageNode: Any
    spreadNode: Any
    residuals: list[dict[str, Any]]
    warnings: list[str]
    provenance: dict[str, Any]
    reprojections: list[dict[str, Any]]
    views: list[dict[str, Any]]
    inputs: list[Any]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Preview:
    """An X-ray as the network sees it: ``image`` uint8, ``mask`` bool (measured pixels), ``view``, ``warnings``."""

    image: np.ndarray
    mask: np.ndarray
    view: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class SimulationResult:
    """``files``: DICOM DX, in the order of the angles; ``nodes``: the same as volume nodes; ``angles``."""

    files: list[str]
    nodes: list[Any]
    angles: list[float]


class ReconstructionLogic:
    """See the module's docstring. ``CLSDMReconstructionLogic`` is this together with ScriptedLoadableModuleLogic.

    Attributes:
        worker: the InferenceProcess.
        models: the ModelStore.
        dependencies: the Dependencies.
    """

    def reconstruct(
        self,
        frontal=None,
        lateral=None,
        *,
        views=(),
        product: str = "mean",
        steps: int | None = None,
        samples: int = 8,
        seed: int = 0,
        device: str = "auto",
        bundle=None,
        preset: str = "chest",
        wait: bool = False,
        onProgress: OnProgress | None = None,
        onFinished: OnFinished | None = None,
        onError: OnError | None = None,
        onLog: OnLog | None = None,
    ) -> Run:
        """Reconstruct a CT volume. With ``wait`` it returns a finished run or raises ``ReconstructionError``."""
        raise NotImplementedError

    def simulate(self, ctNode, preset="chest", angles=(0.0, 90.0), *, wait=False, **callbacks) -> Run:
        """X-rays of a loaded CT; result: SimulationResult. The files live until ``cleanup``."""
        raise NotImplementedError

    def compare(self, reconstructionNode, truthNode, *, wait=False, **callbacks) -> Run:
        """Figures of both protocols; result: the dict of ``clsdm.compare.as_json``."""
        raise NotImplementedError

    def preview(self, xrayInput, *, bundle=None, preset="chest", wait=False, **callbacks) -> Run:
        """An X-ray as the network sees it; result: Preview. A newer call takes the place of one that still waits."""
        raise NotImplementedError

    def hello(self, *, wait=False, **callbacks) -> Run:
        """Warm the worker; result: {"devices": [{"name", "label", "free_bytes", "total_bytes"}], "torch", "python"}."""
        raise NotImplementedError

    def inspectModel(self, source, *, wait=False, **callbacks) -> Run:
        """Fetch (URL) or take (file, folder) a bundle and check every hash; result: Model, for the user's consent."""
        raise NotImplementedError

    def addModel(self, model, *, wait=False, **callbacks) -> Run:
        """Put an inspected model into the user's folder; result: Model there."""
        raise NotImplementedError

    def cancel(self) -> None:
        """Cancel every run."""

    def cleanup(self) -> None:
        """Cancel every run, end the worker, remove temporary files and observers."""
