"""The public CT of the sample menu: taken out of its archive, checked, and read as Slicer's own reader reads it."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tempfile
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
from panel_case import PanelCase

from CLSDMReconstructionLib.base.Steps import atOnce
from CLSDMReconstructionLib.scene.Sampling import onPlane
from CLSDMReconstructionLib.xrays import SampleCase


def nifti(path: Path, intercept: float = -1024.0) -> Path:
    """A turned volume in which no two voxels are alike, stored as the public CT is: with something to add."""
    image = sitk.GetImageFromArray(np.arange(10 * 12 * 14, dtype=np.int16).reshape(10, 12, 14))
    image.SetSpacing((3.0, 4.0, 5.0))
    image.SetOrigin((-20.0, 30.0, 7.0))
    image.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    sitk.WriteImage(image, str(path))
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[112:120] = struct.pack("<2f", 1.0, intercept)
    path.write_bytes(gzip.compress(data))
    return path


class SampleCaseTest(unittest.TestCase):
    def setUp(self) -> None:
        slicer.mrmlScene.Clear(0)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        cache = mock.patch.object(SampleCase, "cachedCase", return_value=self.folder / "cache" / SampleCase.FILE)
        cache.start()
        self.addCleanup(cache.stop)

    def test_it_is_read_as_slicers_own_reader_reads_it(self) -> None:
        path = nifti(self.folder / "ct.nii.gz")
        ours, theirs = slicer.mrmlScene.AddNode(atOnce(SampleCase.read(path))), slicer.util.loadVolume(str(path))
        self.assertEqual(slicer.util.arrayFromVolume(ours).min(), -1024)
        bounds = np.zeros(6)
        theirs.GetRASBounds(bounds)
        for right, down in (((1, 0, 0), (0, 1, 0)), ((0, 1, 0), (0, 0, 1))):
            planes = [onPlane(node, bounds.reshape(3, 2).mean(1), right, down, 40, 1.0) for node in (ours, theirs)]
            self.assertGreater(np.isfinite(planes[0]).sum(), 500)
            np.testing.assert_allclose(*planes, atol=0.01)

    def test_it_is_read_in_pieces(self) -> None:
        path = nifti(self.folder / "ct.nii.gz")
        with mock.patch.object(SampleCase, "PIECE_BYTES", 256):
            self.assertGreater(len(list(SampleCase.read(path))), 10)

    def test_a_damaged_file_is_named(self) -> None:
        path = nifti(self.folder / "ct.nii.gz")
        whole = gzip.decompress(path.read_bytes())
        for content in (whole[:1000], b"nonsense", whole[:40] + bytes(30) + whole[70:]):
            for packed in (gzip.compress(content), content, gzip.compress(content)[:-20]):
                path.write_bytes(packed)
                with self.assertRaises(ValueError):
                    atOnce(SampleCase.read(path))

    def archive(self) -> str:
        """A wheel with the CT; returns the CT's SHA-256."""
        path = nifti(self.folder / "ct.nii.gz")
        with zipfile.ZipFile(self.folder / "x.whl", "w") as archive:
            archive.write(path, SampleCase.MEMBER)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def test_it_is_unpacked_into_the_cache(self) -> None:
        target = atOnce(SampleCase.unpack(self.folder, self.archive()))
        self.assertEqual(target.read_bytes(), (self.folder / "ct.nii.gz").read_bytes())

    def test_another_file_than_expected_is_refused_and_nothing_of_it_stays(self) -> None:
        self.archive()
        with self.assertRaisesRegex(ValueError, "another file"):
            atOnce(SampleCase.unpack(self.folder))
        self.assertEqual(list((self.folder / "cache").iterdir()), [])


class SampleMenuTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        cache = mock.patch.object(SampleCase, "cachedCase", return_value=self.folder / SampleCase.FILE)
        cache.start()
        self.addCleanup(cache.stop)

    def test_the_public_case_in_the_cache_is_read_while_the_window_answers(self) -> None:
        nifti(self.folder / SampleCase.FILE)
        self.panel.samples.loadPublicCase()
        self.assertEqual(self.nodes(), [])
        self.assertIn("Reading", self.ui.stageLabel.text)
        self.wait(lambda: not self.panel.samples.isLoading)
        ct = self.logic.runs[-1].arguments["ct"]
        self.assertEqual(ct.GetName(), SampleCase.NAME)
        self.assertEqual((ct.GetDisplayNode().GetWindow(), ct.GetDisplayNode().GetAutoWindowLevel()), (1500.0, 0))

    def test_closing_the_scene_while_it_is_read_leaves_nothing(self) -> None:
        nifti(self.folder / SampleCase.FILE)
        self.panel.samples.loadPublicCase()
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        self.assertEqual((self.nodes(), self.logic.runs), ([], []))

    def test_a_damaged_file_in_the_cache_goes_and_the_phantom_is_offered(self) -> None:
        (self.folder / SampleCase.FILE).write_bytes(gzip.compress(b"nonsense"))
        self.panel.samples.loadPublicCase()
        self.wait(lambda: not self.panel.samples.isLoading)
        self.assertIn("phantom", self.ui.stageLabel.text)
        self.assertFalse((self.folder / SampleCase.FILE).exists())


if __name__ == "__main__":
    unittest.main()
