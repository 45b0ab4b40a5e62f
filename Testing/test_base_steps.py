"""Long work leaves the event loop free: in small steps, or aside."""

import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from panel_case import PanelCase
from scene_case import waitFor

from CLSDMReconstructionLib.base.Preload import preload
from CLSDMReconstructionLib.base.Steps import Steps, aside, atOnce

LONG_S = 0.4


class AsideTest(unittest.TestCase):
    def longest(self, steps) -> float:
        """Seconds of the longest step."""
        longest, last = 0.0, time.perf_counter()
        for _ in steps:
            longest, last = max(longest, time.perf_counter() - last), time.perf_counter()
        return longest

    def test_a_call_that_takes_long_takes_many_short_steps(self) -> None:
        self.assertLess(self.longest(aside(lambda: time.sleep(LONG_S))), LONG_S / 2)

    def test_what_the_call_returns_is_the_result(self) -> None:
        results = []
        Steps(aside(lambda: 7), results.append, results.append)
        waitFor(lambda: results)
        self.assertEqual(results, [7])

    def test_what_the_call_raises_ends_the_steps(self) -> None:
        with self.assertRaisesRegex(OSError, "full"):
            atOnce(aside(mock.Mock(side_effect=OSError("full"))))

    def test_closed_early_it_leaves_no_call_behind(self) -> None:
        done = []
        steps = aside(lambda: (time.sleep(LONG_S / 4), done.append(1)))
        next(steps)
        steps.close()
        self.assertEqual(done, [1])

    def test_an_import_that_takes_long_stops_nobody_and_one_that_fails_is_passed_over(self) -> None:
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [folder, *sys.path]):
            (Path(folder) / "clsdm_takes_long.py").write_text(f"import time\ntime.sleep({LONG_S})\n", encoding="ascii")
            longest = self.longest(preload(("there_is_no_such_module", "clsdm_takes_long")))
            self.addCleanup(sys.modules.pop, "clsdm_takes_long", None)
        self.assertIn("clsdm_takes_long", sys.modules)
        self.assertLess(longest, LONG_S / 2)


class PanelTest(PanelCase):
    def test_what_the_first_click_needs_is_imported_once_the_panel_is_open(self) -> None:
        steps = (fraction for fraction in (0.0, 0.0))
        with mock.patch("CLSDMReconstructionLib.panel.Widget.preload", side_effect=[steps]) as asked:
            self.panel._preload = None
            self.panel.enter()
            self.panel.exit()
            self.panel.enter()  # not a second time
            self.assertEqual(next(steps, None), 0.0, "it had begun before the panel was there")
            waitFor(lambda: not self.panel._preload.isRunning)
        asked.assert_called_once_with()
