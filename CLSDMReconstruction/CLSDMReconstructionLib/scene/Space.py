"""A reconstruction in 3-D: from where it is looked at, and as a volume rendering."""

import numpy as np
import slicer
import vtk

from CLSDMReconstructionLib.scene.Sampling import centre, corners

FROM_THE_SOURCES = np.array([0.6, -0.72, 0.35])  # RAS: a PA X-ray is exposed from behind, a left lateral from the right
DISTANCE = 4.5
"""Of the camera, in edges of the volume: it and the detectors behind it are seen, the sources, metres away, are not."""
OPACITY_HU = ((-1000, 0.0), (-350, 0.0), (-150, 0.04), (60, 0.06), (200, 0.35), (1000, 0.85))
COLOUR_HU = ((-350, (0.55, 0.25, 0.15)), (60, (0.85, 0.6, 0.5)), (200, (0.95, 0.9, 0.8)), (1000, (1.0, 1.0, 1.0)))


def look(view, volume) -> None:
    """Frame a volume in a 3-D view."""
    camera = cameraOf(view)
    middle, size = centre(volume), np.ptp(corners(volume), axis=0).max()
    camera.SetFocalPoint(*middle)
    camera.SetPosition(*(middle + DISTANCE * size * FROM_THE_SOURCES))
    camera.SetViewUp(0.0, 0.0, 1.0)
    camera.GetCamera().SetClippingRange(0.5 * size, 10.0 * size)  # until a view that draws it knows better
    camera.ResetClippingRange()


def lookEverywhere(volume) -> None:
    """The same in every 3-D view that is shown."""
    manager = slicer.app.layoutManager()
    for number in range(0 if manager is None else manager.threeDViewCount):
        look(manager.threeDWidget(number).mrmlViewNode(), volume)


def cameraOf(view):
    """The camera of a 3-D view, which takes the one that has its name, or makes one.

    To have it made by drawing the view would stop the window for as long as that takes.
    """
    cameras = slicer.util.getNodesByClass("vtkMRMLCameraNode")
    camera = next((node for node in cameras if node.GetLayoutName() == view.GetLayoutName()), None)
    if camera is None:
        camera = slicer.mrmlScene.CreateNodeByClass("vtkMRMLCameraNode")
        camera.UnRegister(None)
        camera.SetLayoutName(view.GetLayoutName())
        camera = slicer.mrmlScene.AddNode(camera)
    return camera


def render(volume, shown: bool) -> None:
    """Show or hide a volume in HU as a rendering of bone and soft tissue."""
    logic = slicer.modules.volumerendering.logic()
    display = logic.GetFirstVolumeRenderingDisplayNode(volume)
    if display is None:
        if not shown:
            return
        display = logic.CreateDefaultVolumeRenderingNodes(volume)
        _colour(display.GetVolumePropertyNode().GetVolumeProperty())
    display.SetVisibility(shown)


def _colour(properties) -> None:
    opacity, colour = vtk.vtkPiecewiseFunction(), vtk.vtkColorTransferFunction()
    for hu, value in OPACITY_HU:
        opacity.AddPoint(hu, value)
    for hu, rgb in COLOUR_HU:
        colour.AddRGBPoint(hu, *rgb)
    properties.SetScalarOpacity(opacity)
    properties.SetColor(colour)
    properties.SetInterpolationTypeToLinear()
    properties.ShadeOn()
