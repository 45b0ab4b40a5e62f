"""Where the repository is, and the HU of the asymmetric phantom. Not in conftest.py: Testing/ has one too, and only one of the
two can be imported by that name."""

from pathlib import Path

TESTS = Path(__file__).resolve().parent  # where the modules that several tests share are
REPOSITORY = TESTS.parents[1]
AIR_HU, TISSUE_HU, BALL_HU, BOX_HU = -1000.0, 40.0, 600.0, 1300.0
