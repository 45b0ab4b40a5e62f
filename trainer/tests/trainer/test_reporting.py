"""What a training says of itself where there is no terminal for a bar."""

from pathlib import Path

import pytest

from clsdm.progress import EVERY_SECONDS
from clsdm_trainer.reporting import training_report


@pytest.mark.parametrize("first", [True, False])
def test_without_a_terminal_a_line_now_and_then_says_how_far_the_first_process_is(first, tmp_path: Path, capsys):
    seconds = iter(range(0, 1000, 25))
    with training_report(tmp_path, as_json=False, first=first, clock=lambda: float(next(seconds))) as sink:
        for step in range(1, 7):
            sink({"stage": "alignment", "step": step, "steps": 9, "seconds": 25.0})
    lines = capsys.readouterr().err.splitlines()
    assert EVERY_SECONDS == 60.0
    assert lines == (["alignment step 3 of 9", "alignment step 6 of 9"] if first else [])


def test_a_validation_is_said_once_and_json_lines_stay_alone(tmp_path: Path, capsys):
    record = {"stage": "alignment", "step": 3, "steps": 9, "seconds": 1.0, "psnr_mean_db": 20.0}
    for as_json in (False, True):
        with training_report(tmp_path, as_json=as_json, clock=iter([0.0, 100.0, 200.0]).__next__) as sink:
            sink(record)
    said = capsys.readouterr()
    assert said.err.splitlines() == ["alignment step 3: psnr_mean_db 20.00"]
    assert len(said.out.splitlines()) == 1
