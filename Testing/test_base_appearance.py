"""How texts look: readable on a light and on a dark style, and shown as they are."""

import json
import unittest

import qt
import slicer
from panel_case import PanelCase

from clsdm.errors import Remark
from clsdm.quality.agreement import WAYS_OUT
from clsdm.quality.quantities import QUANTITIES
from CLSDMReconstructionLib.base.Appearance import TONES, sentence, tip
from CLSDMReconstructionLib.panel.Words import numbersHtml

STYLES = ("#efefef", "#353535")
LEAST_CONTRAST = 4.5  # WCAG 2 AA, for text of this size


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


class SentenceTest(unittest.TestCase):
    def test_a_message_begins_with_a_capital_but_an_address_or_a_file_stays_as_it_is(self) -> None:
        for text, said in (
            ("frontal X-ray: no such file", "Frontal X-ray: no such file."),
            ("expected https?", "Expected https?"),
            ("http://a.b/c: expected https", "http://a.b/c: expected https."),
            ("model.zip: not a bundle", "model.zip: not a bundle."),
            ("c:\\a b: is there", "c:\\a b: is there."),
            ("e", "E."),
        ):
            self.assertEqual(sentence(text), said)


class AppearanceTest(PanelCase):
    def test_every_tone_is_readable_on_both_styles(self) -> None:
        for tone, colours in TONES.items():
            for colour, style in zip(colours, STYLES, strict=True):
                darker, brighter = sorted((luminance(colour), luminance(style)))
                with self.subTest(tone=tone, style=style):
                    self.assertGreaterEqual((brighter + 0.05) / (darker + 0.05), LEAST_CONTRAST)

    def test_tones_follow_the_style(self) -> None:
        label = self.ui.productDetails
        before = slicer.app.palette(label)
        dark = qt.QPalette()
        dark.setColor(qt.QPalette.Window, qt.QColor(STYLES[1]))
        for palette, colour in ((dark, TONES["muted"][1]), (before, TONES["muted"][0])):
            slicer.app.setPalette(palette)
            slicer.app.processEvents()
            self.assertIn(colour, label.styleSheet)

    def test_what_a_file_is_called_is_never_taken_for_markup(self) -> None:
        self.panel.result.show(self.result(warnings=["<b>film</b>.png: 8 bit"]))
        self.assertEqual(self.ui.warningsLabel.textFormat, qt.Qt.PlainText)
        self.panel.compare.say("<i>no room</i>")
        self.assertEqual(self.panel.compare.ui.statusLabel.textFormat, qt.Qt.PlainText)
        self.assertEqual((tip("a <b>"), tip("plain")), ("<qt>a &lt;b&gt;</qt>", "plain"))

    def test_what_the_core_says_of_a_result_names_no_options_of_its_command_line(self) -> None:
        hangs = Remark("the PA X-ray seems to hang mirrored and inverted", "right it with --flip frontal and --invert")
        said = json.loads(json.dumps([hangs, WAYS_OUT]))  # as in the worker's answer
        self.panel.result.show(self.result(warnings=said))
        shown = self.ui.warningsLabel.text
        self.assertIn("The PA X-ray seems to hang mirrored and inverted.", shown)
        self.assertIn("the other polarity, or the mirrored image; is it", shown)
        measured = {
            "values": {},
            "not_measurable": dict.fromkeys(QUANTITIES, "a leg"),
            "calibrated": True,
            "doubts": said,
        }
        for text in (shown, numbersHtml(measured | {"product": "mean"})):
            self.assertIn("mirrored and inverted", text.lower())
            self.assertNotIn("--", text)
