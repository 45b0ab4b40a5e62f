"""The panel on small screens: narrow, with its button in sight, and nothing of a number cut off."""

import qt
import slicer
from panel_case import PanelCase
from volumes import add_volume

NARROW_PIXELS = 320
LONG = "1.2.840.113619.2.55.3.604688119.971.1390311932.467 Thorax PA erect, department of radiology, second reading, portable"


class NarrowTest(PanelCase):
    def settle(self) -> None:
        for _ in range(5):
            slicer.app.processEvents()

    def openAll(self) -> None:
        for name in (
            "advancedSection",
            "resultSection",
            "compareSection",
            "simulateSection",
            "exportSection",
            "batchSection",
            "logSection",
        ):
            getattr(self.ui, name).collapsed = False
        self.ui.geometryCheckBox.checked = True
        self.settle()

    def test_no_name_and_no_message_makes_the_panel_wider_than_a_narrow_screen_has_room(self) -> None:
        add_volume(LONG)
        self.drop(self.frontal.widget, self.png(f"{LONG.replace(' ', '_')}.png"))
        self.ui.reconstructButton.click()
        self.panel.result.show(self.result(warnings=[LONG.replace(" ", "")]))
        self.panel.compare.say(f"/home/{LONG.replace(' ', '')}")
        self.logic.dependencies.missing = ("torch",)
        self.panel.enter()
        self.openAll()
        contents = self.ui.scrollContents.layout().totalMinimumSize().width()
        bar = self.ui.scrollArea.style().pixelMetric(qt.QStyle.PM_ScrollBarExtent)
        self.assertLessEqual(contents + bar, self.ui.scrollArea.minimumWidth)  # else its right edge is cut off
        self.assertLessEqual(self.panel.widget.layout().totalMinimumSize().width(), NARROW_PIXELS)

    def test_the_pictures_of_a_result_are_seen_whole(self) -> None:
        self.panel.result.show(self.result())
        area = self.ui.residualArea
        for width in (700, NARROW_PIXELS):
            self.host.resize(width, 900)
            self.settle()
            shown = [label.pixmap for label in slicer.util.findChildren(area, className="QLabel") if not label.text]
            self.assertEqual([area.width // 2 < each.width() <= area.width for each in shown], [True, True], width)

    def test_a_long_name_is_told_in_full_by_a_tooltip(self) -> None:
        node = add_volume(LONG)
        selector = self.panel.compare.ui.truthSelector
        selector.setCurrentNode(node)
        self.assertIn(LONG, selector.toolTip)
        self.assertIn("of the same patient", selector.toolTip)
        selector.setCurrentNode(None)
        self.assertNotIn(LONG, selector.toolTip)

    def test_in_a_narrow_panel_the_slots_stand_one_below_the_other(self) -> None:
        for width, expected in ((700, (0, 1)), (NARROW_PIXELS, (1, 0)), (700, (0, 1))):
            self.host.resize(width, 900)
            self.settle()
            first, second = (slot.widget.geometry for slot in self.panel.xrays.slots[:2])
            self.assertEqual((int(second.y() > first.y()), int(second.x() > first.x())), expected, width)

    def test_the_numbers_of_the_geometry_are_read_in_full(self) -> None:
        self.drop(self.frontal.widget, self.xrayFile("pa.dcm", ImagerPixelSpacing=[0.1438, 0.1438]))
        self.drop(self.lateral.widget, self.png())
        self.openAll()
        for width in (NARROW_PIXELS, 400, 480):
            self.host.resize(width, 900)
            self.settle()
            for slot in self.panel.xrays.slots[:2]:
                for box in (slot.geometry.spacing, slot.geometry.detector, slot.geometry.axis, slot.geometry.angle):
                    editor = slicer.util.findChild(box, "qt_spinbox_lineedit")
                    needed = qt.QFontMetrics(box.font).horizontalAdvance(box.text)
                    self.assertLessEqual(needed, editor.width - 4, f"{box.name} {box.text!r} at {width}")

    def test_the_button_and_its_status_stay_in_sight_however_low_the_panel_is(self) -> None:
        self.fillSlots()
        self.openAll()
        for height in (330, 900):
            self.host.resize(480, height)
            self.settle()
            self.panel.runSection.say("Sampling 3/20")
            self.settle()
            for widget in (self.ui.reconstructButton, self.ui.stageLabel):
                bottom = widget.mapTo(self.host, widget.rect.bottomLeft()).y()
                self.assertLess(bottom, height, widget.name)
            self.assertGreater(self.ui.scrollArea.height, 100)
