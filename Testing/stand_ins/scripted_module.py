"""`slicer.ScriptedLoadableModule`: the four base classes of a scripted module, as far as the module uses them."""

import unittest
from pathlib import Path

import slicer

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ScriptedLoadableModule:
    """The module object: fills in its title, category, help and so on."""

    def __init__(self, parent: object) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, name: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / name)


class ScriptedLoadableModuleWidget:
    """The panel; `parent` is a qMRMLWidget with a layout."""

    def __init__(self, parent: object = None) -> None:
        super().__init__()
        if parent is None:
            raise ValueError("the stand-in opens panels through slicer.util.selectModule only")
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()
        self.developerMode = False

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self) -> None:
        """The original adds the developer's section."""

    def cleanup(self) -> None:
        """To be overridden."""


class ScriptedLoadableModuleLogic:
    """Knows the module's parameter node."""

    def __init__(self, parent: object = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> object:
        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """The test that "Reload and Test" runs."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)

    def runTest(self) -> None:
        """To be overridden."""

    def delayDisplay(self, message: str, *_: object, **__: object) -> None:
        slicer.app.processEvents()
