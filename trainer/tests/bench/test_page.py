"""The page of a benchmark says on what machine its rows were made, and which claims hold."""

from pathlib import Path

import pytest
from tiny_benchmark import written_table

from clsdm_bench.patients import Outcome
from clsdm_bench.records import RowResult
from clsdm_bench.report.claims import best_baseline, check_claim
from clsdm_bench.report.page import hardware_sentence
from clsdm_bench.resolve import Budget
from clsdm_bench.table import Claim, load_table


def result(name: str, psnr: list[float]) -> RowResult:
    """A row with these figures and nothing else."""
    outcomes = [Outcome(name, f"p{i}", 0, 1.0, {"honest.psnr_3d_db": value}) for i, value in enumerate(psnr)]
    distances = ({"patches_hu": psnr[0], "detail_hu": psnr[1]},)
    return RowResult(name, {"weights": None}, tuple(outcomes), distances, None, None)


@pytest.mark.parametrize(
    ("known", "said"), [({"processor_bfloat16": False}, True), ({"processor_bfloat16": True}, False), ({}, False)]
)
def test_the_page_says_where_float32_stood_in_for_bfloat16(known: dict[str, bool], said: bool) -> None:
    machine = {"processor_threads": 1, "gpu": None, "platform": "Linux", "packages": {"torch": "2.13.0"}, **known}
    row = RowResult("a", {"weights": "1"}, (), (), None, {"minutes": 1.0, "environment": machine})
    assert ("float32 in place of bfloat16" in hardware_sentence({"a": row}, Budget(60))) is said


def test_a_claim_holds_only_with_its_margin_and_the_best_baseline_is_found(tmp_path: Path) -> None:
    table = load_table(str(written_table(tmp_path)))
    low, high = [20.0 + 0.1 * i for i in range(8)], [21.0 + 0.1 * i for i in range(8)]
    results = {"mean": result("mean", high), "cnn": result("cnn", low), "ldm": result("ldm", [v - 3.0 for v in low])}
    assert best_baseline(table, results) == "cnn"
    claim = Claim(row="mean", than="best-baseline", figure="honest.psnr_3d_db", margin=0.5, text="")
    assert check_claim(claim, table, results).large_enough
    assert not check_claim(claim.model_copy(update={"margin": 1.5}), table, results).large_enough
    assert check_claim(claim, table, {"mean": results["mean"]}) is None
    nearer = Claim(row="mean", than="cnn", figure="swd.detail_hu", lower_is_better=True, text="")
    assert not check_claim(nearer, table, results).large_enough
    assert check_claim(nearer, table, results).test is None, "of rows without shares the distance alone is known"
    assert check_claim(nearer.model_copy(update={"row": "cnn", "than": "mean"}), table, results).large_enough
