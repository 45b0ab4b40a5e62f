"""The worker's answers as nodes."""

import tempfile
from pathlib import Path

import numpy as np
import slicer
from scene_case import SceneCase
from volumes import add_volume

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.scene import XRaySources
from CLSDMReconstructionLib.scene.Attributes import COVERAGE_ROLE, attributeOf
from CLSDMReconstructionLib.worker import Results
from CLSDMReconstructionLib.xrays.Inputs import XRayInput


class ReconstructionTest(SceneCase):
    def answer(self, hu: int, edge: int = 8) -> dict:
        def placed(name: str) -> dict:
            np.save(self.folder / f"{name}.npy", np.full((edge,) * 3, hu, np.int16))
            geometry = {"spacing_mm": [2.0] * 3, "origin_mm": [float(edge)] * 3, "direction": np.eye(3).tolist()}
            return geometry | {"array": str(self.folder / f"{name}.npy")}

        provenance = {"product": "mean", "model": f"model {hu}"}
        told = {"residuals": [], "warnings": [], "reprojections": [], "views": [], "seconds": 1.0, "measures": None}
        return told | {"provenance": provenance, "volume": placed("volume"), "coverage": placed("coverage")}

    def made(self, hu: int, into=None, edge: int = 8):
        return Results.reconstructionFrom(self.answer(hu, edge), [], "", str, into)

    def test_a_result_takes_the_place_of_another_with_all_that_belongs_to_it(self) -> None:
        first = self.made(100)
        first.volumeNode.SetName("my volume")
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        first.volumeNode.SetAndObserveTransformNodeID(transform.GetID())
        before = slicer.mrmlScene.GetNumberOfNodes()
        second = self.made(300, first.volumeNode, edge=10)
        self.assertIs(second.volumeNode, first.volumeNode)
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertEqual(second.volumeNode.GetName(), "my volume")
        self.assertEqual(slicer.util.arrayFromVolume(second.volumeNode).shape, (10, 10, 10))
        self.assertEqual(slicer.util.arrayFromVolume(second.volumeNode).max(), 300)
        self.assertEqual(second.volumeNode.GetOrigin(), (-10.0, -10.0, 10.0))
        self.assertEqual(attributeOf(second.volumeNode, "model"), "model 300")
        self.assertIs(second.volumeNode.GetNodeReference(COVERAGE_ROLE), second.coverageNode)
        self.assertIsNone(second.volumeNode.GetParentTransformNode())

    def test_a_node_that_is_taken_over_says_its_product_and_lies_in_the_study_of_its_x_rays(self) -> None:
        tree = Nodes.subjectHierarchy()
        studies = [tree.CreateStudyItem(tree.GetSceneItemID(), name) for name in ("one", "two")]
        for study, uid in zip(studies, ("1.2", "1.3"), strict=True):
            tree.SetItemUID(study, "DICOM", uid)
        node = Results.reconstructionFrom(self.answer(100), [], "1.2", str).volumeNode
        answer = self.answer(100)
        answer["provenance"]["product"] = "sample"
        Results.reconstructionFrom(answer, [], "1.3", str, node)
        self.assertEqual(node.GetName(), "CLS-DM sample (research only)")
        self.assertEqual(tree.GetItemParent(tree.GetItemByDataNode(node)), studies[1])

    def test_the_node_says_its_x_rays_unless_their_files_were_changed_meanwhile(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "xray.png"
            file.write_bytes(b"one")
            noted = [XRaySources.noted(file)]
            inputs = [XRayInput(path=str(file), role="frontal")]
            node = Results.reconstructionFrom(self.answer(100), inputs, "", str, None, noted).volumeNode
            self.assertEqual([source.found() for source in XRaySources.sourcesOf(node)], [file])
            file.write_bytes(b"another")
            self.assertEqual([source.found() for source in XRaySources.sourcesOf(node)], [None])
            result = Results.reconstructionFrom(self.answer(100), inputs, "", str, None, noted)
        self.assertEqual(XRaySources.sourcesOf(result.volumeNode), [])
        self.assertIn("the file of the frontal X-ray was replaced or changed meanwhile", result.warnings[-1])

    def test_into_a_node_that_is_gone_a_new_one_is_made(self) -> None:
        gone = add_volume("gone")
        slicer.mrmlScene.RemoveNode(gone)
        self.assertIsNot(self.made(100, gone).volumeNode, gone)
