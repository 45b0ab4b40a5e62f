"""The pictures and the words of the section "Result"."""

from __future__ import annotations

import unittest

import numpy as np

from CLSDMReconstructionLib.panel.ResultSection import pairPicture, residualInWords


class ResidualTest(unittest.TestCase):
    def test_the_pair_shows_x_ray_reprojection_and_difference_side_by_side(self) -> None:
        xray = np.zeros((40, 60))
        picture = pairPicture({"input": xray, "reprojected": xray + 0.5})
        self.assertEqual(picture.shape, (40, 180, 3))
        red, _, blue = picture[20, 150]
        self.assertGreater(int(red), int(blue))  # too much in the way

    def test_a_residual_is_said_in_words(self) -> None:
        self.assertIn("closely", residualInWords({"angle_deg": 0.0, "rmse": 0.05, "correlation": 0.99}))
        text = residualInWords({"angle_deg": 90.0, "rmse": 0.5, "correlation": 0.3})
        for part in ("90°", "disagree", "25.0%", "Check spacing"):
            self.assertIn(part, text)
