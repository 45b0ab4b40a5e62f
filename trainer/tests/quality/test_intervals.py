"""Intervals around a number: what a few patients allow, that they hold, and how a bundle carries them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsdm.errors import InputError
from clsdm.model.bundle import CALIBRATION, Bundle, patient_mark, write_calibrated
from clsdm.quality.intervals import Intervals, calibration_from
from clsdm.quality.numbers import _plain, numbers
from clsdm.quality.quantities import (
    BESIDE,
    CALIBRATED,
    DEFINITION,
    NO_SUM,
    OLD_TABLE,
    QUANTITIES,
    TOO_FEW,
    footnote,
    lines,
    rows,
)
from clsdm.quality.spread import half_width_hu
from clsdm.volume.ct import CTVolume, Grid
from clsdm_bench.numbers.calibrate import crossed, errors_of, half_widths, normal_bounds, table_of, voxel_factors
from clsdm_bench.numbers.collect import RATIO_BINS, Found
from clsdm_bench.numbers.page import coverage_table, voxels_table
from clsdm_bench.numbers.run import joined


def found(case: str, value: float, truth: float, condition: str = "plain", **more: Any) -> Found:
    fields = {"spreads": {}, "spine_mm": None, "residuals": {}, "ratios": {}, "structures": {}} | more
    values, truths = {"lung_ml": value}, {"lung_ml": truth}
    return Found(case, "test", False, condition, "mean", "chest", values, truths=truths, **fields)


@pytest.mark.parametrize(("patients", "levels"), [(1, ["50"]), (2, ["50"]), (4, ["50", "80"]), (8, ["50", "80"]),
                                                  (9, ["50", "80", "90"])])  # fmt: skip
def test_so_few_patients_allow_no_more(patients: int, levels: list[str]) -> None:
    errors = [float(each) for each in range(1, patients + 1)]
    half = half_widths(errors)
    assert list(half) == levels
    for level, width in half.items():
        assert width == math.ceil((patients + 1) * int(level) / 100 - 1e-9)


@pytest.mark.parametrize("patients", [3, 9, 20])
def test_the_next_patient_lies_within_as_often_as_is_said_whatever_the_errors_are(patients: int) -> None:
    random = np.random.default_rng(0)
    hits: dict[str, list[bool]] = {}
    for _ in range(1500):
        *errors, following = random.standard_t(2, patients + 1) + 0.5
        for level, half in half_widths(errors).items():
            hits.setdefault(level, []).append(abs(following) <= half)
    assert hits
    for level, each in hits.items():
        assert int(level) / 100 - 0.03 <= np.mean(each) <= int(level) / 100 + 1 / (patients + 1) + 0.03


def test_intervals_for_normal_errors_are_as_wide_as_so_few_patients_make_them() -> None:
    assert normal_bounds([1.0]) == {}
    low, high = normal_bounds([0.0, 2.0])["90"]
    assert high - 1.0 == pytest.approx(6.3138 * math.sqrt(2.0) * math.sqrt(1.5), rel=1e-3)
    assert low + high == pytest.approx(2.0)


def test_what_all_are_off_alike_is_taken_from_the_number_and_not_from_the_interval() -> None:
    some = [found(f"p{at}", 1000.0, 1100.0 + at) for at in range(9)]
    errors = errors_of(some, "lung_ml")
    assert errors is not None
    assert errors.shift == pytest.approx(0.104 if errors.scale == "value" else 104.0)
    assert errors.half["90"] * (1000.0 if errors.scale == "value" else 1.0) < 5.0


def test_a_patients_error_is_the_largest_of_the_conditions() -> None:
    some = [found("a", 1000.0, 1100.0), found("a", 1000.0, 700.0, "photons"), found("b", 1000.0, 900.0)]
    errors = errors_of(some, "lung_ml")
    assert errors is not None
    assert (errors.patients, errors.scale, errors.errors) == (2, "value", (-0.3, -0.1))
    assert errors_of(some, "kyphosis_deg") is None


def test_the_ensembles_spread_is_the_scale_where_it_tells_patients_apart() -> None:
    random = np.random.default_rng(1)
    spreads = random.uniform(10.0, 400.0, 30)
    some = [found(f"p{at}", 4000.0, 4000.0 + wide * random.uniform(-1, 1), spreads={"lung_ml": wide}) for at, wide in
            enumerate(spreads)]  # fmt: skip
    errors = errors_of(some, "lung_ml")
    assert errors is not None
    assert errors.scale == "spread"
    assert errors.half["90"] <= 1.2


def test_each_patient_is_judged_by_a_table_of_all_others() -> None:
    some = [found(f"p{at}", 4000.0, 4000.0 + 10.0 * at) for at in range(1, 11)]
    judge = crossed(some, "0" * 64)
    told = [judge(each).intervals("mean", "chest", "lung_ml", 4000.0, None) for each in some]
    assert {each.patients for each in told} == {9}
    assert len({each.held["90"] for each in told}) > 1
    assert patient_mark("p1") not in judge(some[0]).patients


def test_errors_of_other_definitions_of_the_numbers_are_not_used(calibrated: Bundle) -> None:
    table = calibrated.calibration | {"definition": DEFINITION - 1}
    known = calibration_from(table, calibrated.hash, "table")
    told = numbers(CTVolume.on_grid(np.full((8, 8, 8), -1000.0, np.float32), Grid(8, 6.0)), "mean", known)
    assert (told["calibrated"], footnote(told)) == (False, OLD_TABLE)
    assert known.intervals("mean", "chest", "lung_ml", 4000.0, None) is None


def test_the_footnote_says_what_the_shown_intervals_rest_on() -> None:
    bounds = {"80": [1.0, 2.0]}
    some = {"held": bounds, "normal": bounds}
    few = {"held": {"50": [1.0, 2.0]}, "normal": bounds}  # of the default model: two patients
    one = {"held": {"50": [1.0, 2.0]}, "normal": {}}

    def said(*known: dict[str, Any]) -> list[bool]:
        values = {str(at): {"intervals": each} for at, each in enumerate(known)} | {"outline_cm2": {"value": 1.0}}
        text = footnote({"product": "mean", "calibrated": True, "values": values})
        return [words in text for words in (CALIBRATED, TOO_FEW, BESIDE)]

    assert said(some) == [True, False, False]
    assert said(some, few) == [True, False, True]
    assert said(few) == [False, True, True]
    assert said(one) == [False, True, False]
    assert said() == [False, False, False]


def test_of_a_table_of_other_definitions_no_numbers_stay() -> None:
    before = {"model_sha256": "a", "numbers": {"mean": 1}, "voxels": {"chest": 2}, "usual": {"x": 1}}
    before |= {"command": "old", "conditions": ["plain"]}
    table = before | {"numbers": {}, "voxels": {}, "usual": {}, "command": "new", "definition": 2, "patients": ["p"]}
    both = joined(before, table)
    assert [both[name] for name in ("numbers", "voxels", "command", "patients")] == [
        {},
        {"chest": 2},
        "old; new",
        ["p"],
    ]
    assert joined(before, table | {"voxels": {"chest": 3}, "usual": {"x": 2}})["command"] == "new", (
        "nothing is left of it"
    )


def test_no_interval_goes_below_what_is_possible() -> None:
    wide = Intervals(4, -1.0, {"80": (-50.0, 30.0)}, {"80": (-90.0, 70.0)})
    assert _plain(wide, QUANTITIES["lung_ml"].least) == {
        "patients": 4, "corrected": 0.0, "held": {"80": [0.0, 30.0]}, "normal": {"80": [0.0, 70.0]}
    }  # fmt: skip
    assert _plain(wide, QUANTITIES["diaphragm_left_mm"].least)["held"]["80"] == [-50.0, 30.0]


@pytest.fixture
def calibrated(small_model: Bundle, tmp_path: Path) -> Bundle:
    errors = [-200.0, 100.0, 300.0, -50.0]
    table = table_of(
        [found(f"p{at}", 4000.0, 4000.0 + error) for at, error in enumerate(errors)], [], small_model.hash, "a command"
    )
    return write_calibrated(tmp_path / "bundle", small_model, table)


def test_a_bundle_carries_its_table_and_one_without_it_stays_as_it_is(calibrated: Bundle, small_model: Bundle) -> None:
    assert small_model.calibration is None
    assert calibrated.hash == small_model.hash
    known = calibration_from(calibrated.calibration, calibrated.hash, "table")
    told = known.intervals("mean", "chest", "lung_ml", 2000.0, None)
    assert told is not None
    assert told.patients == 4
    assert told.held["80"] == pytest.approx((2000.0 * (1 - 0.075), 2000.0 * (1 + 0.075)))
    assert "90" not in told.held
    assert told.normal["90"][0] < 2000.0 < told.normal["90"][1]
    assert known.intervals("ensemble", "chest", "lung_ml", 2000.0, None) is None
    assert known.intervals("mean", "other", "lung_ml", 2000.0, None) is None


ODD_LEVEL = {"patients": 2, "scale": "one", "half": {"70": 1.0}, "normal": {}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_sha256": "0" * 64}, "is of weights 0000"),
        ({"schema": 7}, "schema version 7 is unknown"),
        ({"numbers": {"mean": {"chest": {"lung_ml": {"patients": 2}}}}}, "lung_ml.scale: missing"),
        ({"numbers": {"mean": {"chest": {"lung_ml": ODD_LEVEL}}}}, "levels"),
        ({"numbers": {"mean": 3}}, "expected an object"),
        ({"surprise": 1}, "surprise: unknown field"),
    ],
)  # fmt: skip
def test_a_table_that_is_of_another_model_or_is_none_is_refused(calibrated: Bundle, change, words) -> None:
    with pytest.raises(InputError, match=words):
        calibration_from(calibrated.calibration | change, calibrated.hash, "table")


def test_a_table_that_was_altered_is_refused(calibrated: Bundle) -> None:
    file = calibrated.path / CALIBRATION
    file.write_text(file.read_text(encoding="utf-8").replace("0.075", "0.001"), encoding="utf-8")
    with pytest.raises(InputError, match=f"{CALIBRATION}: (SHA-256|has)"):
        Bundle.open(calibrated.path)


def test_a_reader_is_told_on_how_many_patients_an_interval_rests() -> None:
    def row(half: dict[str, float], patients: int) -> str:
        held = {key: [1.5 - each, 1.5 + each] for key, each in half.items()}
        intervals = {"patients": patients, "held": held, "normal": {"80": [0.0, 3.0]}}
        told = {"values": {"lung_ml": {"value": 1.5, "intervals": intervals}}, "not_measurable": {}, "calibrated": True}
        return next(each.interval for each in rows(told) if each.label == QUANTITIES["lung_ml"].label)

    assert row({"80": 0.5, "90": 1.5}, 13) == "1 ml to 2 ml (80 %, from 13 patients; 90 %: 0 ml to 3 ml)"
    alike = "1 ml to 2 ml (80 % and 90 %, from 13 patients: the two differ by less than is shown)"
    assert row({"80": 0.5, "90": 0.51}, 13) == row({"80": 0.5, "90": 0.5}, 13) == alike
    assert row({"80": 0.5}, 6) == "1 ml to 2 ml (80 %, from 6 patients; no 90 % interval from 6)"
    assert row({"50": 1.0}, 2) == "0 ml to 3 ml (80 % only if errors are normal; no 80 % interval from 2 patients)"


@pytest.mark.parametrize(("both", "said"), [(3010.0, True), (3000.6, False)])
def test_lungs_that_do_not_add_up_are_remarked_on_once(both: float, said: bool) -> None:
    corrected = {"lung_left_ml": 1400.0, "lung_right_ml": 1600.0, "lung_ml": both}
    held = {"patients": 6, "held": {"80": [1.0, 2.0]}, "normal": {}}
    values = {key: {"value": 1.0, "intervals": held | {"corrected": each}} for key, each in corrected.items()}
    told = {"product": "mean", "calibrated": True, "values": values}
    assert footnote(told).count(NO_SUM) == said
    del values["lung_ml"]
    assert NO_SUM not in footnote(told)


def test_a_remark_on_all_intervals_is_said_once() -> None:
    def table(**patients: int) -> list[str]:
        values = {
            key: {"value": 1.5, "intervals": {"patients": count, "held": {}, "normal": {"80": [1.0, 2.0]}}}
            for key, count in patients.items()
        }
        values["lung_mean_hu"] = {"value": -800.0}
        return lines(rows({"values": values, "not_measurable": {}, "calibrated": True}))[: len(values) + 1]

    remark = "80 % only if errors are normal; no 80 % interval from 2 patients"
    said = table(lung_ml=2, heart_width_mm=2)
    assert sum(remark in line for line in said) == 1
    assert said[0] == f"Intervals: {remark}."
    assert said[1].endswith(" 1 ml to 2 ml")
    assert said[2].endswith("no interval: no patients to tell from")
    differ = table(lung_ml=2, heart_width_mm=3)
    assert differ[0].endswith(f" 1 ml to 2 ml ({remark})")
    assert "3 patients)" in differ[2]
    assert table(lung_ml=2)[0].endswith(f"({remark})")


def test_voxel_intervals_hold_as_many_voxels_as_they_say() -> None:
    random = np.random.default_rng(2)
    edges = np.concatenate(([0.0], RATIO_BINS, [np.inf]))
    ratios = {"lung": np.histogram(np.abs(3.0 * random.standard_normal(200_000)), edges)[0].tolist()}
    factors = voxel_factors([found("a", 1.0, 1.0, ratios=ratios)])
    assert factors["lung"]["80"] == pytest.approx(3.0 * 1.2816, rel=0.02)
    twice = voxel_factors([found(case, 1.0, 1.0, ratios=ratios) for case in "ab"])
    assert (twice["lung"]["patients"], twice["lung"]["held"]) == (2, pytest.approx(0.8, abs=0.005))
    hu = np.array([[[-800.0, 0.0]]])
    wide = half_width_hu(hu, np.full_like(hu, 40.0), factors)
    assert wide[0, 0].tolist() == pytest.approx([math.hypot(40, 10) * factors["lung"]["80"], 0.0], rel=1e-5)


def test_observed_coverage_stands_in_the_tables(calibrated: Bundle) -> None:
    known = calibration_from(calibrated.calibration, calibrated.hash, "table")
    some = [found("x", 4000.0, 4250.0), found("y", 4000.0, 4400.0)]
    assert "| 0% of 2 | 50% of 2 | no 90 % interval from 4 |" in coverage_table(some, lambda _: known)
    ratios = {"lung": [0] * 40 + [100] + [0] * 41}
    table = json.loads(json.dumps(calibrated.calibration)) | {"voxels": {"chest": {"lung": {"80": 50.0}}}}
    wide = calibration_from(table, calibrated.hash, "table")
    assert "100% (1)" in voxels_table([found("x", 1.0, 1.0, ratios=ratios)], lambda _: wide)
