"""The panel's state that is kept in the scene: the X-rays, how to reconstruct, and the volumes that belong together.

What belongs to the machine and not to the scene (device) is in QSettings. X-rays that are nodes are held by reference,
so that they are found again when the scene is saved, closed and opened.
"""

import json
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

from CLSDMReconstructionLib.xrays.Inputs import MAX_VIEWS, XRayInput

PRODUCTS = ["mean", "sample", "ensemble"]
PRESETS = ["chest", "x2ct", "c-arm", "linac-kv"]


@parameterNodeWrapper
class Parameters:
    """The module's parameter node.

    Attributes:
        xrays: JSON list of the X-rays, frontal and lateral first; see :func:`writeXRays`.
        xray1: node of the first X-ray, where it is one; and so on.
        model: ``Model.key`` of the chosen model, or only its id; "" for the embedded default.
        steps: 0 for the model's default.
    """

    xrays: str
    xray1: vtkMRMLScalarVolumeNode
    xray2: vtkMRMLScalarVolumeNode
    xray3: vtkMRMLScalarVolumeNode
    xray4: vtkMRMLScalarVolumeNode
    xray5: vtkMRMLScalarVolumeNode
    xray6: vtkMRMLScalarVolumeNode
    xray7: vtkMRMLScalarVolumeNode
    xray8: vtkMRMLScalarVolumeNode
    model: str
    product: Annotated[str, Choice(PRODUCTS), Default("mean")]
    preset: Annotated[str, Choice(PRESETS), Default("chest")]
    steps: Annotated[int, WithinRange(0, 1000), Default(0)]
    samples: Annotated[int, WithinRange(2, 64), Default(8)]
    seed: Annotated[int, WithinRange(0, 2147483647), Default(0)]
    output: vtkMRMLScalarVolumeNode
    reconstruction: vtkMRMLScalarVolumeNode
    groundTruth: vtkMRMLScalarVolumeNode


def nodeOf(parameters, name: str):
    """A node of the parameter node that is still in the scene, or None (the wrapper remembers nodes that are gone)."""
    return parameters.parameterNode.GetNodeReference(name)


def asText(xrays: list) -> str:
    """X-rays (``XRayInput`` or None for an empty slot) as ``Parameters.xrays`` holds them."""
    return json.dumps([None if xray is None else xray.toPlain() for xray in xrays])


def writeXRays(parameters, xrays: list) -> None:
    """Keep X-rays in the parameter node, as one change."""
    was = parameters.StartModify()
    try:
        parameters.xrays = asText(xrays)
        for number in range(MAX_VIEWS):
            xray = xrays[number] if number < len(xrays) else None
            node = parameters.parameterNode.GetScene().GetNodeByID(xray.nodeId) if xray and xray.nodeId else None
            parameters.setValue(f"xray{number + 1}", node)
    finally:
        parameters.EndModify(was)


def readXRays(parameters) -> list:
    """The X-rays of a parameter node; one whose node is gone leaves its slot empty."""
    found = []
    for number, plain in enumerate(json.loads(parameters.xrays or "[]"), 1):
        xray = None if plain is None else XRayInput.fromPlain(plain)
        if xray is not None and xray.nodeId is not None:
            node = parameters.parameterNode.GetNodeReference(f"xray{number}")
            xray.nodeId = None if node is None else node.GetID()
            xray = None if node is None else xray
        found.append(xray)
    return found
