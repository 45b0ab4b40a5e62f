"""The scripted module "CLS-DM Reconstruction": what Slicer asks of it, and where the rest is."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from CLSDMReconstructionLib.Logic import ReconstructionLogic

LIBRARY = "CLSDMReconstructionLib"
HOMEPAGE = "https://arxiv.org/abs/2507.11152"


class CLSDMReconstruction(ScriptedLoadableModule):
    """The module's name, help and thanks."""

    def __init__(self, parent) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("CLS-DM Reconstruction")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Tomographic Reconstruction")]
        parent.dependencies = []
        parent.contributors = ["The CLS-DM Reconstruction developers"]
        parent.helpText = _(
            "Reconstructs a CT volume from two X-ray images (or one, or up to eight) by latent diffusion, and compares it "
            'with a CT. See <a href="{url}">the paper</a>. <b>Research only. Not a medical device; not for diagnosis or '
            "treatment.</b>"
        ).format(url=HOMEPAGE)
        parent.acknowledgementText = _(
            'After "Latent Space Consistency for Sparse-View CT Reconstruction" (CLS-DM, <a href="{url}">arXiv '
            "2507.11152</a>). Please cite it, and this software by its CITATION.cff."
        ).format(url=HOMEPAGE)
        slicer.app.connect("startupCompleted()", registerSampleData)


class CLSDMReconstructionWidget(ScriptedLoadableModuleWidget):
    """The shell around ``CLSDMReconstructionLib.panel.Widget.ReconstructionPanel``."""

    def __init__(self, parent=None) -> None:
        self.panel = self.logic = None
        ScriptedLoadableModuleWidget.__init__(self, parent)

    def setup(self) -> None:
        """Called by Slicer when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from CLSDMReconstructionLib.panel.Widget import ReconstructionPanel

        self.logic = CLSDMReconstructionLogic()
        self.panel = ReconstructionPanel(self.logic, self.layout, self.resourcePath)
        if getattr(self.parent, "isEntered", False):  # reloaded while it is shown: Slicer does not call enter again
            self.enter()

    def enter(self) -> None:
        """Called by Slicer whenever the module is shown."""
        self.panel.enter()

    def exit(self) -> None:
        """Called by Slicer whenever another module is shown."""
        self.panel.exit()

    def cleanup(self) -> None:
        """Called by Slicer when the module goes."""
        if self.panel is not None:
            self.panel.cleanup()

    def onReload(self) -> None:
        """Reload the library too, save for where the open scene's files are."""
        kept = f"{LIBRARY}.scene.SessionFiles"
        for name in [name for name in sys.modules if name.split(".")[0] == LIBRARY and name != kept]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class CLSDMReconstructionLogic(ReconstructionLogic, ScriptedLoadableModuleLogic):
    """``ReconstructionLogic`` with the module's parameter node; works without a GUI."""

    def __init__(self, *arguments, **options) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        ReconstructionLogic.__init__(self, *arguments, **options)


class CLSDMReconstructionTest(ScriptedLoadableModuleTest):
    """Runs the tests in the source tree's folder Testing inside this Slicer."""

    def runTest(self) -> None:
        """Called by "Reload and Test"."""
        folder = Path(__file__).resolve().parents[1] / "Testing"
        if not (folder / "RunInSlicer.py").is_file():
            self.delayDisplay("The tests are in the source tree, not in the installed extension.")
            return
        sys.path.insert(0, str(folder))
        import RunInSlicer

        passed, failed = RunInSlicer.runTests()
        self.assertEqual(failed, 0)
        self.assertGreater(passed, 0)


def registerSampleData() -> None:
    """Two tiles in the module Sample Data, which fill the panel's slots and the ground truth."""
    try:
        import SampleData
    except ImportError:
        return
    icon = Path(__file__).resolve().parent / "Resources" / "Icons" / "CLSDMReconstruction.png"
    for name, load in (("X-rays of a chest CT", loadPublicCase), ("X-rays of a phantom", loadPhantom)):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category="CLS-DM Reconstruction",
            sampleName=name,
            uris=[HOMEPAGE],  # a source has to have one; ours come from the panel
            fileNames=[name],
            nodeNames=[name],
            loadFiles=[False],
            checksums=[None],
            thumbnailFileName=str(icon),
            customDownloader=load,
        )


def loadPublicCase(source=None) -> list:
    """Load the first tile."""
    _samples().loadPublicCase()
    return []


def loadPhantom(source=None) -> list:
    """Load the second tile."""
    _samples().loadPhantom()
    return []


def _samples():
    if slicer.util.mainWindow() is not None:
        slicer.util.selectModule("CLSDMReconstruction")
    return slicer.util.getModuleWidget("CLSDMReconstruction").panel.samples
