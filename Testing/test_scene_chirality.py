"""Left is left: from the DICOM file of an X-ray to the pixel on the screen, with a phantom that equals none of its mirrors."""

import unittest
from pathlib import Path

import numpy as np
import pydicom
import slicer
from fakes import FakeDependencies
from real_worker import smallCase
from vtk.util.numpy_support import vtk_to_numpy

from CLSDMReconstruction import CLSDMReconstructionLogic
from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.panel.ResultSection import showInSlices
from CLSDMReconstructionLib.scene import Volumes
from CLSDMReconstructionLib.scene.HeldViews import HeldViews
from CLSDMReconstructionLib.xrays.SampleMenu import phantom

MARK_RAS = (-100.0, -20.0, 60.0)  # in the patient's left lung, behind its middle, above the heart
HEART_RAS = (-40.0, 25.0, -20.0)  # planes in which no mirror of the phantom is like it
VIEWS = ("Red", "Yellow", "Green")


def addPhantom() -> object:
    """The phantom of the sample menu as a CT in the scene."""
    array, spacing = phantom()
    origin = [-(count - 1) / 2 * spacing for count in reversed(array.shape)]
    geometry = {"spacing_mm": [spacing] * 3, "origin_mm": origin, "direction": np.eye(3).tolist()}
    node = Volumes.makeVolume(array, geometry, "phantom", hounsfield=True)
    Nodes.addToScene([node])
    return node


def displayed(node, at=HEART_RAS) -> dict[str, np.ndarray]:
    """The planes of the three slice views through a point: HU by view, the first row at the top of the screen."""
    showInSlices(node, HeldViews())
    slicer.app.processEvents()
    shown = {}
    for name in VIEWS:
        logic = slicer.app.layoutManager().sliceWidget(name).sliceLogic()
        logic.FitSliceToBackground()
        logic.GetSliceNode().JumpSliceByCentering(*at)
        logic.GetSliceNode().SetFieldOfView(400.0, 400.0, logic.GetSliceNode().GetFieldOfView()[2])
        logic.GetSliceNode().SetDimensions(100, 100, 1)
        logic.UpdatePipeline()
        reslice = logic.GetBackgroundLayer().GetReslice()
        reslice.Update()
        image = reslice.GetOutput()
        columns, rows, _ = image.GetDimensions()
        shown[name] = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns)[::-1].astype(float)
    return shown


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


class ChiralityTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)

    def test_a_mark_in_the_left_lung_is_shown_where_radiologists_look_for_it(self) -> None:
        """Of a CT, which nothing of ours has turned: the anchor of the other test."""
        shown = displayed(addPhantom(), (0.0, 0.0, MARK_RAS[2]))["Red"]
        shown[:, 40:60] = -1000.0  # spine and breastbone, which are as bright
        row, column = np.unravel_index(np.argmax(shown), shown.shape)
        self.assertGreater(column, 60, "the patient's left is at image right")
        self.assertGreater(row, 50, "behind is below")

    def test_the_reconstruction_is_shown_as_the_ct_is_and_not_as_any_mirror_of_it(self) -> None:
        smallCase()  # skips where there is no torch
        logic = CLSDMReconstructionLogic(dependencies=FakeDependencies())
        self.addCleanup(logic.cleanup)
        truth = addPhantom()
        files = logic.simulate(truth, wait=True).result.files
        made = logic.reconstruct(*files, bundle="openkbp64", wait=True).result.volumeNode
        self.compareWithTruth(made, truth)
        with self.subTest("stored the other way round"):
            turned = [self.storedTurned(Path(name)) for name in files]
            self.compareWithTruth(logic.reconstruct(*turned, bundle="openkbp64", wait=True).result.volumeNode, truth)

    def compareWithTruth(self, made, truth) -> None:
        wanted, found = displayed(truth), displayed(made)
        for name in VIEWS:
            right = alike(found[name], wanted[name])
            mirrors = {
                "left-right": wanted[name][:, ::-1],
                "up-down": wanted[name][::-1],
                "both": wanted[name][::-1, ::-1],
            }
            for which, mirrored in mirrors.items():
                with self.subTest(view=name, mirror=which):
                    self.assertGreater(right, alike(found[name], mirrored) + 0.02)

    @staticmethod
    def storedTurned(path: Path) -> str:
        """The same X-ray as another machine stores it: mirrored and upside down, as its PatientOrientation says."""
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array[::-1, ::-1]
        opposite = str.maketrans("LRAPHF", "RLPAFH")
        dataset.PatientOrientation = [letters.translate(opposite) for letters in dataset.PatientOrientation]
        down, right = dataset.PositionOfIsocenterProjection
        dataset.PositionOfIsocenterProjection = [dataset.Rows - down, dataset.Columns - right]
        dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
        turned = path.with_name(f"turned_{path.name}")
        dataset.save_as(turned)
        return str(turned)
