"""Outside Slicer, tests get stand-ins for it (see stand_ins/__init__.py). Inside, `RunInSlicer.py` runs them without."""

import sys
from pathlib import Path

import pytest

TESTING = Path(__file__).resolve().parent
MODULE = TESTING.parent / "CLSDMReconstruction" / "CLSDMReconstruction.py"
sys.path.insert(0, str(TESTING))
sys.path.insert(0, str(MODULE.parent))

import stand_ins  # noqa: E402

stand_ins.install(MODULE)


@pytest.fixture(autouse=True)
def _exceptions_in_slots_fail_the_test():
    """Slicer prints them and goes on; here they count."""
    from stand_ins import python_qt

    python_qt.slot_errors.clear()
    yield
    errors, python_qt.slot_errors[:] = list(python_qt.slot_errors), []
    assert not errors, "an exception left a slot:\n" + "\n".join(errors)
