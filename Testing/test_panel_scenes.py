"""Scenes that are added to an open one."""

from pathlib import Path

import slicer
from panel_case import PanelCase
from volumes import add_volume


class AddedSceneTest(PanelCase):
    """X-rays that are nodes and a result, in a scene that is loaded beside another without closing it."""

    def saved(self, name: str, *, withXRays: bool = True) -> Path:
        """A scene's file; the scene is empty afterwards."""
        if withXRays:
            for slot, role in zip(self.panel.xrays.slots, ("frontal", "lateral"), strict=True):
                self.drop(slot.widget, add_volume(f"{name} {role}", size=(90, 70, 1)))
        self.panel.showResult(self.result())
        self.assertTrue(slicer.util.saveScene(str(self.folder / name)))
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        return self.folder / name / f"{name}.mrml"

    def load(self, file: Path) -> None:
        slicer.util.loadScene(str(file))
        slicer.app.processEvents()

    def shown(self) -> list[str]:
        return [slot.xray and slot.xray.node.GetName() for slot in self.panel.xrays.slots]

    def referred(self) -> list[str]:
        names = ("xray1", "xray2", "reconstruction")
        return [self.panel.parameters.parameterNode.GetNodeReferenceID(name) for name in names]

    def test_its_x_rays_and_its_result_are_shown_and_nothing_is_lost_from_the_scene(self) -> None:
        for withXRays in (False, True):
            with self.subTest(withXRays=withXRays):
                first = self.saved(f"first {withXRays}", withXRays=withXRays)
                second = self.saved(f"second {withXRays}")
                self.load(first)
                self.load(second)
                self.assertEqual(self.shown(), [f"second {withXRays} {role}" for role in ("frontal", "lateral")])
                nodes = [slot.xray.nodeId for slot in self.panel.xrays.slots]
                newest = self.nodes()[-1].GetID()
                self.assertEqual(self.referred(), [*nodes, newest])
                self.assertEqual(self.panel.result.result.volumeNode.GetID(), newest)
                slicer.mrmlScene.Clear(0)

    def test_its_model_settings_come_with_it_and_can_be_changed(self) -> None:
        self.ui.seedSpinBox.setValue(5)
        second = self.saved("second")
        self.load(self.saved("first"))
        self.ui.seedSpinBox.setValue(3)
        self.load(second)
        self.assertEqual(self.ui.seedSpinBox.value, 5)
        self.ui.seedSpinBox.setValue(7)
        self.assertEqual(self.panel.parameters.seed, 7)

    def test_a_scene_that_is_added_from_another_module_is_shown_on_coming_back(self) -> None:
        second = self.saved("second")
        self.load(self.saved("first"))
        self.panel.exit()
        self.load(second)
        self.panel.enter()
        self.assertEqual(self.shown(), ["second frontal", "second lateral"])
