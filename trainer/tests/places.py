"""Where the repository is, and the HU of the asymmetric phantom. Not in conftest.py: Testing/ has one too, and only one of the
two can be imported by that name."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
AIR_HU, TISSUE_HU, BALL_HU, BOX_HU = -1000.0, 40.0, 600.0, 1300.0
