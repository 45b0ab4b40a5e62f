"""Results: the worker's answers as nodes and arrays. Nothing touches the scene before everything has been read."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.scene import Volumes, XRayNodes, XRaySources
from CLSDMReconstructionLib.scene.Attributes import (
    COVERAGE_ROLE,
    OTHERS_ROLE,
    SPREAD_ROLE,
    clearAttributes,
    provenanceOf,
    setAttributes,
)
from CLSDMReconstructionLib.scene.Belongings import belongingsOf
from CLSDMReconstructionLib.xrays.Inputs import XRayInput, viewName

NAME = "CLS-DM {} (research only)"
"""Of a reconstruction's node, with its product."""
_OURS = re.compile(re.escape(NAME).replace(r"\{\}", r"\w+") + r"(_\d+)?")


@dataclass(frozen=True)
class ReconstructionResult:
    """The result of ``reconstruct``.

    Attributes:
        volumeNode: HU.
        coverageNode: number of views that crossed each voxel.
        spreadNode: standard deviation in HU over an ensemble's samples, else None.
        residuals: for each view {"angle_deg", "rmse", "correlation"}.
        warnings: what the user should know.
        provenance: plain JSON types.
        reprojections: for each view {"angle_deg", "view" on the virtual detector, "input": 2-D array, "reprojected": 2-D
            array}, NaN where not measured.
        views: geometry of each view (``clsdm.geometry.view.View`` as a dict, with "origins").
        inputs: the XRayInputs it was made from.
        measures: what was measured in the volume (``clsdm.quality.numbers``), or None.
        hanging: how its X-rays seem to hang otherwise than was taken (``clsdm.hanging.Hanging.to_plain``), or None.
        seconds: {"total": from click to nodes, "core": of it the core's own}.
    """

    volumeNode: Any
    coverageNode: Any
    spreadNode: Any
    residuals: list[dict[str, Any]]
    warnings: list[str]
    provenance: dict[str, Any]
    reprojections: list[dict[str, Any]]
    views: list[dict[str, Any]]
    inputs: list[XRayInput]
    seconds: dict[str, float]
    measures: dict[str, Any] | None = None
    hanging: dict[str, Any] | None = None


@dataclass(frozen=True)
class Preview:
    """An X-ray as the network sees it: ``image`` uint8, ``mask`` bool (measured pixels), ``view``, ``warnings``."""

    image: np.ndarray
    mask: np.ndarray
    view: dict[str, Any]
    warnings: list[str]


@dataclass(frozen=True)
class SimulationResult:
    """X-rays of a CT.

    Attributes:
        files: DICOM DX, in the order of the angles; they live until the logic's ``cleanup``.
        nodes: the same as volume nodes, which say all that the files do.
        angles: in degrees.
    """

    files: list[str]
    nodes: list[Any]
    angles: list[float]


def reconstructionFrom(
    answer: dict[str, Any], inputs: list[XRayInput], studyUid: str, shown, into=None, noted: list[dict] | None = None
) -> ReconstructionResult:
    """Read the arrays, make the nodes, and put them into the scene, all or none.

    Args:
        answer: the worker's.
        inputs: the X-rays.
        studyUid: StudyInstanceUID of the X-rays or "".
        shown: takes what must not be seen out of a text.
        into: a reconstruction's node, in the scene, that is to hold the new one in place of its own; None for a new node.
        noted: what the X-rays were when they were handed to the worker, of ``XRaySources.noted``.

    Raises:
        OSError: an array cannot be read.
    """
    product = answer["provenance"]["product"]
    changed = _changed(inputs, noted or [])
    warnings = [shown(text) for text in answer["warnings"]] + _gone(inputs) + changed
    reprojections = [
        {**each, "input": np.load(each["input"]), "reprojected": np.load(each["reprojected"])}
        for each in answer["reprojections"]
    ]
    volume = _volume(answer["volume"], NAME.format(product))
    coverage = _volume(answer["coverage"], f"CLS-DM {product}, coverage (research only)", hounsfield=False)
    spread = _volume(answer["spread"], f"CLS-DM {product}, spread (research only)") if "spread" in answer else None
    made = {**answer["provenance"], "residuals": answer["residuals"], "warnings": warnings}
    made["measures"] = answer.get("measures")
    if into is not None and into.GetScene() is not None:
        volume = _takenOver(into, volume)
    sources = [xray.node for xray in inputs if xray.node is not None]
    for node, role in ((volume, "volume"), (coverage, "coverage"), (spread, "spread")):
        if node is not None:
            setAttributes(node, {**made, "role": role, XRaySources.SOURCES: None if changed else noted})
    nodes = [node for node in (coverage, spread, volume) if node is not None and node.GetScene() is None]
    study = Nodes.studyItem(sources, studyUid)
    Nodes.addToScene(nodes, study)
    Nodes.putUnder(volume, study)
    Volumes.showHounsfield(volume)
    volume.SetNodeReferenceID(COVERAGE_ROLE, coverage.GetID())
    if spread is not None:
        volume.SetNodeReferenceID(SPREAD_ROLE, spread.GetID())
    return ReconstructionResult(
        volume,
        coverage,
        spread,
        answer["residuals"],
        warnings,
        answer["provenance"],
        reprojections,
        answer["views"],
        inputs,
        {"core": answer["seconds"]},
        answer.get("measures"),
        answer.get("hanging"),
    )


def comparisonFrom(reconstruction, answer: dict[str, Any]) -> dict[str, Any]:
    """The figures of a comparison, with a warning where the X-rays did not tell where the patient lay."""
    ensureCore()
    from clsdm.quality.place import place_notes

    bounds = [0.0] * 6
    reconstruction.GetRASBounds(bounds)
    centre = [(low + high) / 2 for low, high in zip(bounds[::2], bounds[1::2], strict=True)]
    made = provenanceOf(reconstruction) or _recorded(reconstruction)
    notes = place_notes(made, centre, reconstruction.GetSpacing()[0])
    return answer | {"warnings": [*answer["warnings"], *notes]}


def _recorded(volume) -> dict[str, Any]:
    """The provenance in the record beside the file that a volume was read from; empty where there is none of this volume."""
    ensureCore()
    from clsdm.app.record import record_of
    from clsdm.errors import InputError

    storage = volume.GetStorageNode()
    file = storage.GetFileName() if storage is not None else None
    if not file:
        return {}
    try:
        return record_of(Path(file)).get("provenance", {})
    except (InputError, OSError):  # damaged, of another volume, or out of reach
        return {}


def fromOthersOf(volume, answer: dict[str, Any]):
    """The node of what a reconstruction's X-rays do not fix, in the scene and under its reconstruction."""
    node = _volume(
        answer["others"], f"CLS-DM, from other patients: the X-rays fix {answer['share']:.0%} (research only)"
    )
    setAttributes(node, {"role": "others", "share": answer["share"], "legend": answer["legend"]})
    Nodes.addToScene([node])
    volume.SetNodeReferenceID(OTHERS_ROLE, node.GetID())
    return node


def _takenOver(into, volume):
    """The node with the voxels, the place and the units of another, and without what belonged to its own.

    A name that the user gave stays; one of ours says of which product it is.
    """
    Nodes.remove(*belongingsOf(into))
    clearAttributes(into)
    into.SetAndObserveTransformNodeID(None)
    into.SetAndObserveImageData(volume.GetImageData())
    into.CopyOrientation(volume)
    into.SetVoxelValueQuantity(volume.GetVoxelValueQuantity())
    into.SetVoxelValueUnits(volume.GetVoxelValueUnits())
    if _OURS.fullmatch(into.GetName()) and not into.GetName().startswith(volume.GetName()):
        into.SetName(slicer.mrmlScene.GetUniqueNameByString(volume.GetName()))
    return into


def _volume(volume: dict[str, Any], name: str, *, hounsfield: bool = True):
    return Volumes.makeVolume(np.load(volume["array"]), volume, name, hounsfield=hounsfield)


def _gone(inputs: list[XRayInput]) -> list[str]:
    return [
        f"the {xray.label} was removed from the scene meanwhile; it was used as it was at the start"
        for xray in inputs
        if xray.nodeId is not None and xray.node is None
    ]


def _changed(inputs: list[XRayInput], noted: list[dict]) -> list[str]:
    return [
        f"the file of the {xray.label} was replaced or changed meanwhile; which of the two was used is not known"
        for xray, entry in zip(inputs, noted, strict=False)
        if XRaySources.changed(entry)
    ]


def previewFrom(answer: dict[str, Any], shown) -> Preview:
    """Read the arrays of a preview."""
    warnings = [shown(text) for text in answer["warnings"]]
    return Preview(np.load(answer["image"]), np.load(answer["mask"]), answer["view"], warnings)


def simulationFrom(answer: dict[str, Any]) -> SimulationResult:
    """Make nodes of the simulated X-rays and put them into the scene, all or none."""
    nodes = []
    for file, made in zip(answer["files"], answer["images"], strict=True):
        name = f"Simulated X-ray {viewName(made['view']['angle_deg'])}"
        nodes.append(XRayNodes.makeXRay(np.load(made["image"]), made["view"], made["isocentre_mm"], name, file))
    Nodes.addToScene(nodes)
    return SimulationResult(answer["files"], nodes, [made["view"]["angle_deg"] for made in answer["images"]])
