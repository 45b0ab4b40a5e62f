"""The pictures and the words of the section "Result"."""

import unittest

import numpy as np

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.panel.ResultSection import pairPicture
from CLSDMReconstructionLib.panel.Words import numbersHtml, residualInWords, verdict

ensureCore()
from clsdm.quality.quantities import QUANTITIES, SHOWN_LEVEL  # noqa: E402


class ResidualTest(unittest.TestCase):
    def test_the_pair_shows_x_ray_reprojection_and_difference_side_by_side(self) -> None:
        xray = np.zeros((40, 60))
        picture = pairPicture({"input": xray, "reprojected": xray + 0.5})
        self.assertEqual(picture.shape, (40, 180, 3))
        red, _, blue = picture[20, 150]
        self.assertGreater(int(red), int(blue))  # too much in the way

    def test_the_worst_view_gives_the_verdict(self) -> None:
        def view(correlation: float | None) -> dict:
            return {"angle_deg": 0.0, "rmse": 0.05, "correlation": correlation}

        for correlations, tone in (((0.99, 0.97), "good"), ((0.99, 0.9), "caution"), ((0.99, None), "error")):
            text, found = verdict([view(each) for each in correlations])
            self.assertEqual(found, tone)
            self.assertIn("explain", text)
        self.assertEqual(verdict([])[0], "")

    def test_numbers_come_with_their_intervals(self) -> None:
        key, quantity = next(iter(QUANTITIES.items()))
        held = {"patients": 12, "held": {SHOWN_LEVEL: [1.0, 3.0]}, "normal": {}}
        told = {
            "values": {key: {"value": 2.0, "intervals": held}},
            "not_measurable": dict.fromkeys((other for other in QUANTITIES if other != key), "a <leg>"),
            "calibrated": True,
            "product": "mean",
        }
        text = numbersHtml(told)
        self.assertIn(quantity.label, text)
        self.assertIn("from 12 patients", text)
        self.assertEqual(text.count("not measurable, a &lt;leg&gt;: "), 1)
        self.assertIn("not measurable, a &lt;leg&gt;", numbersHtml(told | {"values": {}}))
        few = {"patients": 2, "held": {}, "normal": {SHOWN_LEVEL: [1.0, 3.0]}}
        both = {each: {"value": 2.0, "intervals": few} for each in list(QUANTITIES)[:2]}
        self.assertEqual(numbersHtml(told | {"values": both}).count("only if errors are normal"), 1)
        doubted = numbersHtml(told | {"doubts": ["too <thin>"]})
        self.assertLess(doubted.index("too &lt;thin&gt;"), doubted.index(quantity.label))
        self.assertEqual((numbersHtml(None), numbersHtml({"values": {}})), ("", ""))

    def test_a_residual_is_said_in_words(self) -> None:
        self.assertIn("closely", residualInWords({"angle_deg": 0.0, "rmse": 0.05, "correlation": 0.99}))
        text = residualInWords({"angle_deg": 90.0, "rmse": 0.5, "correlation": 0.3})
        for part in ("left lateral", "disagree", "25.0%", "Check spacing"):
            self.assertIn(part, text)
