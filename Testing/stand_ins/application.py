"""`slicer.app`, `slicer.mrmlScene`, `slicer.modules` and the main window, around a real scene and real logics."""

from __future__ import annotations

import atexit
import importlib.util
import sys
import tempfile
import types
from pathlib import Path

import shiboken6
import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from stand_ins import layout_manager, parameter_node, qmrml_widgets, scene_files, scripted_module


class qSlicerApplication(QtWidgets.QApplication):
    """The application object."""

    __stand_in__ = True

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        self.setOrganizationName("CLS-DM tests")
        self.setApplicationName("Slicer")
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-stand-in-")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._folder.name)
        self._logic, self._modules = slicer.vtkSlicerApplicationLogic(), ModuleManager()
        self._layouts = self._window = None
        self._io = scene_files.IOManager()

    startupCompleted = QtCore.Signal()
    temporaryPath = property(lambda self: self._folder.name)
    cachePath = property(lambda self: self._folder.name)
    slicerHome = property(lambda self: self._folder.name)
    slicerUserSettingsFilePath = property(lambda self: QtCore.QSettings().fileName())
    os = property(lambda self: {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux"))

    def mrmlScene(self) -> object:
        return slicer.mrmlScene

    def applicationLogic(self) -> object:
        return self._logic

    def moduleManager(self) -> ModuleManager:
        return self._modules

    def layoutManager(self) -> object:
        return self._layouts

    def ioManager(self) -> object:
        return self._io

    coreIOManager = ioManager

    def settings(self) -> QtCore.QSettings:
        return QtCore.QSettings()

    userSettings = revisionUserSettings = settings

    def openExtensionsManagerDialog(self) -> None:
        """There is none here."""

    def testingEnabled(self) -> bool:
        return False

    def translate(self, context: str, text: str) -> str:
        return text

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def pauseRender(self) -> None:
        """Drawing waits for `resumeRender`."""

    def resumeRender(self) -> None:
        """Drawing goes on."""


class ModuleManager(QtCore.QObject):
    """Knows the modules by name and announces that one goes."""

    __stand_in__ = True
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    SIGNATURES = {"moduleAboutToBeUnloaded": ("moduleAboutToBeUnloaded(QString)",)}

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, object] = {}

    def module(self, name: str) -> object:
        return self._modules.get(name)

    def register(self, name: str, module: object) -> None:
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), module)


class LogicModule:
    """A loadable module of Slicer, of which only its real logic is here."""

    def __init__(self, name: str, logic: object) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> object:
        return self._logic


class ScriptedModule:
    """`slicer.modules.<name>` of a scripted module: made from its file, its panel on first use."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.categories, self.dependencies, self.contributors = "", [], [], []
        self.helpText = self.acknowledgementText = ""
        self.hidden = False
        self._shell: qSlicerScriptedLoadableModuleWidget | None = None
        self.instance = getattr(self.load(), self.name)(self)
        setattr(slicer.modules, f"{self.name}Instance", self.instance)

    def load(self) -> types.ModuleType:
        folder = str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        spec.loader.exec_module(module)
        return module

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        if self._shell is None:
            self._shell = qSlicerScriptedLoadableModuleWidget(self.name)
            self._shell.build()
        return self._shell


class qSlicerScriptedLoadableModuleWidget(qmrml_widgets.qMRMLWidget):
    """Holds a Python panel and calls its setup, enter and exit."""

    __stand_in__ = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self._python, self._entered = name, None, False
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> object:
        return self._python

    def build(self) -> None:
        kind = getattr(sys.modules[self._name], f"{self._name}Widget")
        self._python = kind(self)
        setattr(slicer.modules, f"{self._name}Widget", self._python)
        self._python.setup()

    isEntered = property(lambda self: self._entered)

    def reload(self) -> None:
        """Like the original's, without calling `enter`."""
        self.build()

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._python, "enter"):
            self._python.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._python, "exit"):
            self._python.exit()


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """Module panel at the left, layout at the right."""

    __stand_in__ = True
    PROBE = 150

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selected = None
        self._scroll = QtWidgets.QScrollArea()
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        panel, probe = QtWidgets.QWidget(), QtWidgets.QGroupBox("Data Probe")
        probe.setFixedHeight(self.PROBE)
        QtWidgets.QVBoxLayout(panel)
        for part in (QtWidgets.QPushButton("Help && Acknowledgement"), self._scroll, probe):
            panel.layout().addWidget(part)
        splitter = QtWidgets.QSplitter()
        splitter.addWidget(panel)
        splitter.addWidget(slicer.app.layoutManager().viewport())
        splitter.setSizes([500, 900])
        self.setCentralWidget(splitter)
        self.resize(1400, 900)

    selectedModule = property(lambda self: self._selected or "")

    def moduleSelector(self) -> qSlicerMainWindow:
        return self

    def moduleScrollArea(self) -> QtWidgets.QScrollArea:
        return self._scroll

    def selectModule(self, name: str) -> None:
        if name == self._selected:
            return
        previous = slicer.app.moduleManager().module(self._selected) if self._selected else None
        if isinstance(previous, ScriptedModule):
            previous.widgetRepresentation().exit()
            self._scroll.takeWidget().setParent(None)
        self._selected = name
        module = slicer.app.moduleManager().module(name)
        if isinstance(module, ScriptedModule):
            panel = module.widgetRepresentation()
            self._scroll.setWidget(panel)
            panel.setVisible(True)
            panel.enter()


LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}


def install() -> None:
    """Make the application, its scene and its main window, and put them into `slicer`."""
    modules = types.ModuleType("slicer.modules")
    slicer.modules, sys.modules["slicer.modules"] = modules, modules
    for name, module in (("ScriptedLoadableModule", scripted_module), ("parameterNodeWrapper", parameter_node)):
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    slicer.i18n = sys.modules["slicer.i18n"] = types.ModuleType("slicer.i18n")
    slicer.i18n.tr, slicer.i18n.translate = (lambda text: text), (lambda context, text: text)
    for kind in qmrml_widgets.WIDGETS:
        setattr(slicer, kind.__name__, kind)
    slicer.qMRMLUtils = qmrml_widgets.qMRMLUtils
    slicer.qSlicerScriptedLoadableModuleWidget = qSlicerScriptedLoadableModuleWidget
    slicer.app = qSlicerApplication()
    slicer.mrmlScene = scene = slicer.vtkMRMLScene()
    logic = slicer.app.applicationLogic()
    logic.SetHomeDirectory(slicer.app.slicerHome)
    logic.SetShareDirectory("share")
    (Path(slicer.app.slicerHome) / "share" / "ColorFiles").mkdir(parents=True)
    logic.SetMRMLScene(scene)
    for name, kind in LOGICS.items():
        part = getattr(slicer, kind)()
        part.SetMRMLApplicationLogic(logic)
        part.SetMRMLScene(scene)
        logic.SetModuleLogic(name, part)
        slicer.app.moduleManager().register(name, LogicModule(name, part))
    _keep_subject_hierarchy(scene)
    slicer.app._layouts = layout_manager.qSlicerLayoutManager(scene, logic)
    slicer.app._window = qSlicerMainWindow()
    atexit.register(shut_down)


def shut_down() -> None:
    """End the application while Python is still whole; left to the interpreter's end, Qt's objects go in any order."""
    app = slicer.app
    if not shiboken6.isValid(app):
        return
    app.aboutToQuit.emit()
    slicer.mrmlScene.Clear(1)
    app.processEvents()
    app.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    for part in (app._window, app._layouts, app._modules, app):
        shiboken6.delete(part)


def _keep_subject_hierarchy(scene: object) -> None:
    """An item for every node that a user sees, as the subject hierarchy's plugins make it."""

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller: object, event: str, node: object) -> None:
        shown = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")
        if node is None or node.GetHideFromEditors() or not any(node.IsA(kind) for kind in shown):
            return
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if hierarchy is not None and not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, added)


def load_module(path: Path) -> ScriptedModule:
    """Make a scripted module known, as "Additional module paths" does."""
    module = ScriptedModule(path)
    slicer.app.moduleManager().register(module.name, module)
    return module
