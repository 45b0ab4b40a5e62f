"""A real worker for tests: an interpreter with torch, and a tiny model with its X-rays, made by that interpreter.

``smallCase`` skips a test, with the reason, where the worker's Python has no torch.
"""

import atexit
import functools
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import slicer
from scene_case import LIMIT_S

from CLSDMReconstructionLib.base.CorePath import corePath
from CLSDMReconstructionLib.base.QtChannel import findPython, usesOtherPython

TESTS = Path(__file__).resolve().parents[1] / "trainer" / "tests"

_MAKE = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from small_bundle import CENTRE_MM, small_bundle, small_phantom, small_xrays
from clsdm.simulate import write_dx, write_preview
from clsdm.volume.write import write_ct
folder = Path(sys.argv[3])
small_bundle(folder / "bundle")
ct = small_phantom(CENTRE_MM)
write_ct(ct, folder / "ct.nii.gz")
for name, xray in zip(("frontal", "lateral"), small_xrays(ct, centre_mm=CENTRE_MM)):
    write_dx(xray, folder / f"{name}.dcm")
    write_preview(xray, folder / f"{name}.png")
ct.hu[0, 0, 0] = -999.0
write_dx(small_xrays(ct, centre_mm=CENTRE_MM)[1], folder / "other_patient.dcm")
"""


def workersPython(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in the Python that the worker runs in."""
    environment = slicer.util.startupEnvironment() if usesOtherPython() else None
    command = [findPython(), "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT_S, check=False, env=environment)


@functools.cache
def smallCase() -> Path:
    """A folder with ``bundle`` (16³ voxels of 24 mm, random weights), ct.nii.gz, frontal and lateral as .dcm and .png, and
    other_patient.dcm; made once, not to be changed.

    Raises:
        unittest.SkipTest: the worker's Python cannot make them.
    """
    folder = Path(tempfile.mkdtemp(prefix="case-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = workersPython(_MAKE, str(corePath()), str(TESTS), str(folder))
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise unittest.SkipTest(f"needs a worker with torch; {findPython()} says: {last}")
    return folder


class OwnTemporaries(unittest.TestCase):
    """Tests with a temporary folder of their own, so that they see what they leave, and nobody else's."""

    @classmethod
    def setUpClass(cls) -> None:
        smallCase()
        before, folder = tempfile.tempdir, tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        tempfile.tempdir = folder.name

        def restore() -> None:
            tempfile.tempdir = before
            folder.cleanup()

        cls.addClassCleanup(restore)


def leftovers() -> set[Path]:
    """The module's temporary files and folders."""
    return set(Path(tempfile.gettempdir()).glob("clsdm-*"))


def alive(pid: int) -> bool:
    """Whether a process runs (zombies do not)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def scene() -> set[str]:
    """The IDs of all nodes in the scene."""
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)  # makes the one that every scene has
    nodes = slicer.mrmlScene.GetNodes()
    return {nodes.GetItemAsObject(at).GetID() for at in range(nodes.GetNumberOfItems())}
