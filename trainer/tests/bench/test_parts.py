"""The parts of the benchmark with known answers: tests of difference, distances, latents, tables, memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from places import REPOSITORY
from scipy import stats

from clsdm.errors import InputError
from clsdm.model.clsdm import CLSDM
from clsdm_bench.measures.distribution import _distances, detail, sliced_wasserstein
from clsdm_bench.measures.latents import Alignment, agreement, plane, vectors, write_figure
from clsdm_bench.measures.memory import peak_memory
from clsdm_bench.measures.statistics import holm, paired
from clsdm_bench.records import PATIENTS, ROWS, Records
from clsdm_bench.report.page import results_page
from clsdm_bench.report.pictures import spread
from clsdm_bench.report.readme import BEGIN, END, comparison
from clsdm_bench.resolve import Budget, budget_of, config_of, samples_of
from clsdm_bench.systems.networks import make_network
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.table import OWN_STAGES, TableSpec, load_table, table_names
from clsdm_trainer.recipe import changed, load_config

# Differences ----------------------------------------------------------------------------------------------------------


def test_holm_gives_the_figures_of_a_hand_calculation() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_a_paired_difference_is_scipys_wilcoxon_by_case_id_in_any_order() -> None:
    random = np.random.default_rng(0)
    reference = {f"p{index}": value for index, value in enumerate(random.normal(20.0, 3.0, 16))}
    method = {case: value + 1.0 + random.normal(0.0, 0.4) for case, value in reversed(reference.items())}
    test = paired(method, reference)
    expected = stats.wilcoxon([method[case] - reference[case] for case in reference])
    assert test.p == pytest.approx(expected.pvalue)
    assert test.difference.mean == pytest.approx(np.mean([method[case] - reference[case] for case in reference]))
    assert 0.5 < test.difference.low < test.difference.high < 1.5


def test_a_method_against_itself_is_no_different_and_other_cases_are_refused() -> None:
    same = {"a": 1.0, "b": 2.0}
    assert paired(same, same).p == 1.0
    with pytest.raises(ValueError, match="cases differ"):
        paired(same, {"a": 1.0, "c": 2.0})


# Distribution ---------------------------------------------------------------------------------------------------------


def textured(random: np.random.Generator, noise_hu: float = 60.0) -> np.ndarray:
    """Coarse blocks with fine texture, different each time."""
    blocks = random.uniform(-100.0, 300.0, (3, 3, 3)).repeat(8, 0).repeat(8, 1).repeat(8, 2)
    return blocks + random.normal(0.0, noise_hu, blocks.shape)


def blurred(hu: np.ndarray) -> np.ndarray:
    volume = torch.from_numpy(hu)[None, None]
    smooth = torch.nn.functional.avg_pool3d(volume, 3, stride=1, padding=1, count_include_pad=False)
    return smooth[0, 0].numpy()


def test_the_same_volumes_have_no_distance_and_a_shift_has_its_own_size() -> None:
    truths = [textured(np.random.default_rng(seed)) for seed in range(3)]
    same = sliced_wasserstein(truths, truths).whole
    assert (same.patches_hu, same.detail_hu) == (0.0, 0.0)
    shifted = sliced_wasserstein([truth + 20.0 for truth in truths], truths).whole
    # A shift by 20 HU moves each patch by 20·√343 along (1, ..., 1); its mean projection on a random direction is √(2/π).
    assert shifted.patches_hu == pytest.approx(20.0 * np.sqrt(2.0 / np.pi), rel=0.15)
    assert shifted.detail_hu == pytest.approx(0.0, abs=1e-3)


def test_other_patients_are_nearer_than_blur_in_detail_though_blur_is_nearer_in_error() -> None:
    truths = [textured(np.random.default_rng(seed)) for seed in range(4)]
    others = [textured(np.random.default_rng(seed)) for seed in range(4, 8)]
    smooth = [blurred(truth) for truth in truths]
    errors = [np.mean([(a - b) ** 2 for a, b in zip(group, truths, strict=True)]) for group in (smooth, others)]
    assert errors[0] < errors[1]
    nearer, farther = (sliced_wasserstein(group, truths).whole for group in (others, smooth))
    assert nearer.detail_hu < 0.5 * farther.detail_hu


def test_a_patients_share_is_what_the_distance_loses_without_it() -> None:
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 40, 8, generator=random) for _ in range(2))
    a[2] += 3.0
    whole, *shares = _distances(a, b)
    rest = [index for index in range(5) if index != 2]
    assert shares[2] == pytest.approx(5 * whole - 4 * _distances(a[rest], b[rest])[0], rel=1e-5)
    assert max(shares) == shares[2]
    assert _distances(a[:1], b[:1])[1:] == pytest.approx([_distances(a[:1], b[:1])[0]])


def test_detail_has_no_mean_in_any_block_and_keeps_what_is_finer() -> None:
    volume = torch.rand(6, 6, 6)
    fine = detail(volume)
    assert float(torch.nn.functional.avg_pool3d(fine[None, None], 2).abs().max()) < 1e-6
    torch.testing.assert_close(detail(fine), fine)


# Latents --------------------------------------------------------------------------------------------------------------


def latents(seed: int, count: int = 6) -> torch.Tensor:
    return torch.randn(count, 8, 4, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_equal_latents_find_each_other_and_independent_ones_do_not() -> None:
    own = agreement(latents(0), latents(0))
    assert own.cosine == pytest.approx(1.0, abs=1e-5)
    assert own.retrieval == own.retrieval_back == own.voxel_retrieval == 1.0
    assert own.cosine_others == pytest.approx(-0.2, abs=0.02)  # vectors around their mean: -1 / (N - 1)
    chance = agreement(latents(0, 64), latents(1, 64))
    assert abs(chance.cosine) < 0.05
    assert chance.retrieval < 0.1
    assert chance.voxel_retrieval < 0.1


def test_what_all_patients_share_does_not_count_as_agreement() -> None:
    shared = 10.0 * torch.ones(1, 8, 4, 4, 4)
    assert abs(agreement(latents(0, 64) + shared, latents(1, 64) + shared).cosine) < 0.05


def test_swapped_patients_are_not_retrieved() -> None:
    assert agreement(latents(0).roll(1, 0), latents(0)).retrieval == 0.0


def test_the_plane_keeps_patients_together_and_the_figure_shows_them(tmp_path: Path) -> None:
    ct = latents(0, 16)
    xray = ct + 0.1 * latents(1, 16)
    own = agreement(xray, ct)
    alignment = Alignment(own, own, vectors(xray).numpy(), vectors(ct).numpy())
    found = plane(alignment)
    assert np.array_equal(found, plane(alignment))
    distances = np.linalg.norm(found[:16, None] - found[None, 16:], axis=-1)
    assert (distances.argmin(1) == np.arange(16)).all()
    write_figure(alignment, "latents", tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000


# Tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", table_names())
def test_every_shipped_table_resolves_and_gives_every_method_the_same_samples(name: str) -> None:
    table = load_table(name)
    budget = budget_of(table, None)
    for run in table.runs:
        config, stages = config_of(table, run, budget), table.stages(run)
        seen = sum(samples_of(config, stage) for stage in stages)
        whole = stages if not set(stages) < set(OWN_STAGES) else OWN_STAGES
        if set(whole) == set(stages):
            assert seen == pytest.approx(budget.samples, rel=0.01), run
        else:  # a part of the three stages: as many as it has in the whole
            assert seen < budget.samples
            whole_run = config_of(table, "all-geometries", budget)  # its stages' lengths are rounded, each by itself
            assert config.alignment.steps == pytest.approx(whole_run.alignment.steps, abs=1)
        for stage in set(stages) - set(table.run(run).steps):
            assert getattr(config, stage).optimiser.warmup_steps < getattr(config, stage).steps
        start = config.autoencoder.adversarial_start
        assert start is None or "autoencoder" not in stages or 0 < start < config.autoencoder.steps


def test_with_equal_minutes_a_method_that_trains_faster_sees_more_and_an_ablation_what_it_ablates() -> None:
    table = load_table("openkbp64")
    fast, slow = (
        Budget(0, 30.0, {"all-geometries": 60.0, "exact": 60.0}),
        Budget(0, 30.0, {"all-geometries": 30.0, "exact": 30.0}),
    )
    for run in ("exact", "autoregressive", "unaligned", "latents-8"):
        assert fast.of(table, run) == 2 * slow.of(table, run) == 1800
        assert config_of(table, run, fast).autoencoder.steps > config_of(table, run, slow).autoencoder.steps
    with pytest.raises(InputError, match="no row of run 'inrr3ct'"):
        fast.of(table, "inrr3ct")
    with pytest.raises(InputError, match="more in stages it takes"):
        config_of(table, "exact", Budget(0, 30.0, {"all-geometries": 60.0, "exact": 1.0}))


def test_the_shipped_tables_have_the_same_systems_under_their_own_protocols() -> None:
    assert table_names() == ["body128", "ctspine128", "lidc128", "lidc128-drr", "openkbp64"]
    lidc, spine, small, body = (load_table(name) for name in ("lidc128", "ctspine128", "openkbp64", "body128"))
    assert spine.rows == lidc.rows
    assert spine.sources != lidc.sources
    assert {name for name in small.rows if "tuned" not in name} - {*lidc.rows} == {
        "ldm-flow", "latents-8", "latents-8-ceiling", "latents-32", "latents-32-ceiling", "published-ceiling",
        "more-diffusion",
    }, "all systems and ablations stand in every table, but sizes of latents and what else was tried in their own"  # fmt: skip
    assert lidc.claims == small.claims[: len(lidc.claims)] == body.claims[: len(lidc.claims)]
    assert spine.claims == lidc.claims
    assert load_config(lidc.preset).data.placement == "x2ct"


def test_the_current_table_has_every_row_of_the_small_one_at_128_voxels_of_3_mm_where_the_scan_covers() -> None:
    body, small = load_table("body128"), load_table("openkbp64")
    resized = {"latents-8": "latents-16", "latents-32": "latents-64"}
    for name, row in small.rows.items():
        other = resized.get(row.run or "", row.run)
        same = body.rows[name.replace(row.run, other) if row.run in resized else name]
        assert (same.run, same.method, same.product, same.steps, same.angles_deg) == (
            other, row.method, row.product, row.steps, row.angles_deg
        )  # fmt: skip
    assert len(body.rows) == len(small.rows)
    for run in body.runs:
        config = config_of(body, run, budget_of(body, None))
        assert (config.model.grid.size, config.model.grid.spacing_mm) == (128, 3.0)
        assert config.data.placement == "body"
        poses = ("rotation_deg", "scale", "stretch", "shift_mm", "axial_shift_mm", "flip_probability", "warp_mm")
        assert [getattr(config.augment, name) for name in poses] == [5.0, 0.08, 0.06, 15.0, 30.0, 0.0, 8.0], run
        with torch.device("meta"):
            CLSDM(config.model)
            if config.baseline is not None:
                make_network(config.baseline.network, config.model)
    assert body.ranked == "covered.psnr_db"


def test_published_drrs_are_of_the_cube_and_say_so_all_other_x_rays_of_the_scan() -> None:
    assert {name: load_table(name).xrays for name in table_names()} == {
        "body128": "scan", "ctspine128": "scan", "lidc128": "scan", "lidc128-drr": "cube", "openkbp64": "scan",
    }  # fmt: skip
    assert all(source.startswith("dicom:") for source in load_table("lidc128").sources), (
        "the archive has the cube alone"
    )


def test_without_a_change_of_budget_ours_is_the_shipped_recipe_to_the_letter() -> None:
    table = load_table("openkbp64")
    assert config_of(table, "all-geometries", budget_of(table, None)) == BenchmarkConfig.load("openkbp64")


def test_the_ablations_change_what_their_names_say_and_nothing_else() -> None:
    table = load_table("openkbp64")
    budget = budget_of(table, None)
    exact, autoregressive, parallel = (
        config_of(table, name, budget) for name in ("exact", "autoregressive", "parallel")
    )
    assert autoregressive == changed(exact, {"alignment": {"contrast_weight": 0.0}})
    assert parallel == changed(exact, {"model": {"condition": {"lift": "parallel"}}})
    contrastive = config_of(table, "contrastive", budget).alignment
    assert (contrastive.voxel_weight, contrastive.consistency_weight) == (0.0, 0.0)
    assert contrastive.contrast_weight == exact.alignment.contrast_weight > 0.0
    unaligned = config_of(table, "unaligned", budget).alignment
    assert (unaligned.contrast_weight, unaligned.voxel_weight, unaligned.steps) == (0.0, 0.0, 1)
    published = config_of(table, "published", budget)
    assert (published.alignment.contrast, published.alignment.voxel_loss) == ("published", "l1")
    assert published.model.condition.lift == "parallel"
    assert published.model.latent_size == 16
    assert published.model.process.steps == 50


def test_of_a_run_that_gives_a_stage_away_only_that_stage_is_trained_for_others() -> None:
    table = load_table("openkbp64")
    three = ("autoencoder", "alignment", "diffusion")
    assert table.runs_for(["mean"]) == {"all-geometries": three[:1], "exact": three}
    assert table.runs_for(["ldm", "all-geometries-mean"]) == {"all-geometries": three, "ldm": ("autoencoder", "joint")}
    assert table.runs_for(["fdk", "x2ct-cnn"]) == {"x2ct-cnn": ("baseline",)}
    assert table.runs_for(["latents-8-ceiling"]) == {"latents-8": three[:1]}, "a round trip needs the autoencoder alone"


def test_parallel_lifts_and_baselines_see_images_that_span_the_cube() -> None:
    for name in table_names():
        table = load_table(name)
        for run in table.runs:
            model = config_of(table, run, budget_of(table, None)).model
            if "baseline" in table.stages(run) or model.condition.lift == "parallel":
                assert model.detector.field_mm == model.grid.cube_mm, (name, run)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {"a": {"like": "b"}}}, "no run"),
        ({"runs": {"a": {"share": {"autoencoder": "b"}}}}, "no run"),
        ({"runs": {"a": {"stages": ["distillation"]}}}, "none of the stages"),
        ({"rows": {"r": {"label": "r", "group": "ours", "run": "b"}}}, "no run"),
        ({"rows": {"r": {"label": "r", "group": "classical", "method": "magic"}}}, "none of"),
        ({"rows": {"r": {"label": "r", "group": "sanity", "method": "shuffled"}}}, "needs a run"),
        ({"rows": {"r": {"label": "r", "group": "theirs", "run": "a"}}}, "group"),
        ({"claims": [{"row": "r", "than": "s", "figure": "f", "text": "t"}]}, "no row"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_table_that_does_not_hold_together_is_refused(change: dict, message: str) -> None:
    base = {"preset": "openkbp64", "runs": {"a": {}}, "rows": {"r": {"label": "r", "group": "ours", "run": "a"}}}
    TableSpec.model_validate(base)
    with pytest.raises(ValueError, match=message):
        TableSpec.model_validate({**base, **change})


def test_an_unknown_table_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="openkbp64"):
        load_table("nothing")


def test_weights_of_presets_are_replaced_and_not_mixed() -> None:
    config = changed(load_config("openkbp64"), {"augment": {"presets": {"x2ct": 1.0}}})
    assert config.augment.presets == {"x2ct": 1.0}


# Memory, pictures -----------------------------------------------------------------------------------------------------


CPU = torch.device("cpu")


def test_peak_memory_is_that_of_the_blocks_that_are_held_at_once() -> None:
    before = torch.ones(2**20)  # 4 MiB that are not of the work
    with peak_memory(CPU) as peak:
        first = before * 2.0
        second = torch.ones(2**21)  # 8 MiB beside the 4
        del first, second
        before.exp()
    assert peak.mib == pytest.approx(12.0, abs=0.01)


def test_peak_memory_counts_arrays_of_numpy_as_well() -> None:
    with peak_memory(CPU) as peak:
        del [np.ones(2**20)][0]  # 8 MiB
        torch.from_numpy(np.ones(2**19)) * 2.0  # 4 of numpy, 4 of torch
    assert peak.mib == pytest.approx(8.0 + 4.0, abs=0.01), "the highest of both"


def test_peak_memory_sees_what_a_layer_takes_within_and_repeats() -> None:
    """The convolution's own rearranged copies and columns, which no tensor of Python's holds."""
    layer, volume = torch.nn.Conv3d(32, 32, 3, padding=1), torch.zeros(1, 32, 16, 16, 16)
    peaks = []
    for earlier in (0, 64, 512):  # whatever the process did before
        torch.ones(earlier * 2**18)
        with torch.no_grad(), peak_memory(CPU) as peak:
            layer(volume)
        peaks.append(peak.mib)
    assert peaks[1] == pytest.approx(peaks[2], abs=0.01)
    assert peaks[2] > volume.nbytes / 2**20 + 0.05, "more than its result"


def test_work_that_fails_ends_the_counting_and_says_what_failed() -> None:
    with pytest.raises(ValueError, match="this one"), peak_memory(CPU):
        raise ValueError("this one")
    assert not tracemalloc.is_tracing()
    with peak_memory(CPU) as peak:
        torch.ones(2**18)
    assert peak.mib == pytest.approx(1.0, abs=0.01)


def test_the_pictured_patients_are_spread_and_do_not_depend_on_any_figure() -> None:
    assert spread(16, 3) == [2, 8, 13]
    assert spread(2, 3) == [0, 1]


# The page of the repository --------------------------------------------------------------------------------------------


PAGES = {"body128": "RESULTS.md", "openkbp64": "results/openkbp64/RESULTS.md"}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_repository_is_what_its_records_give(name: str) -> None:
    path, folder = REPOSITORY / "trainer" / PAGES[name], REPOSITORY / "trainer" / "results" / name
    table, records = load_table(name), Records.open(folder)
    page = path.read_text(encoding="utf-8")
    assert page == results_page(table, records, folder.relative_to(path.parent).as_posix())
    assert ("The current table is `body128`" in page) == (name != "body128")


def test_the_table_of_ablations_has_all_its_rows() -> None:
    assert set(Records.open(REPOSITORY / "trainer" / "results" / "openkbp64").rows) == set(load_table("openkbp64").rows)


def test_the_comparison_in_short_is_that_of_the_current_table() -> None:
    records = Records.open(REPOSITORY / "trainer" / "results" / "body128")
    text = (REPOSITORY / "trainer" / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert comparison(load_table("body128"), records.rows) == text.partition(BEGIN)[2].partition(END)[0].strip()


def test_the_repository_keeps_of_a_benchmark_its_two_tables_and_the_pictures_of_its_page() -> None:
    folders = [path for path in (REPOSITORY / "trainer" / "results").iterdir() if path.is_dir()]
    assert {folder.name for folder in folders} == set(PAGES)
    for folder in folders:
        path = REPOSITORY / "trainer" / PAGES[folder.name]
        page, prefix = path.read_text(encoding="utf-8"), folder.relative_to(path.parent).as_posix()
        for each in folder.iterdir():
            assert each == path or each.name in (ROWS, PATIENTS) or f"{prefix}/{each.name}" in page, each
