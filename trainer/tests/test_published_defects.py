"""One test, or a few, for each defect of the published code that docs/method.md, 2, lists: none may come back.

The numbers in the names are those of that list. Beside them: 2, the peak, in quality/test_metrics.py; 3, the published
lists, in trainer/data/test_readers.py; 4, the parallel lift, in model/test_networks.py.
"""

import ast
import inspect
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny import (
    GRID,
    MODEL,
    STAGE_NAMES,
    checkpoint,
    differences,
    padded_anatomy,
    run_to,
    tiny_config,
    tiny_runner,
    tiny_store,
    train,
)

import clsdm
import clsdm_bench
import clsdm_trainer
from clsdm import reconstruction
from clsdm.errors import InputError
from clsdm.files.digest import sealed
from clsdm.geometry.cameras import voxel_axis, voxel_centres
from clsdm.geometry.lift import lift_rays, look_up, parallel_rays
from clsdm.geometry.view import Detector, preset
from clsdm.model.clsdm import CLSDM
from clsdm.quality import metrics
from clsdm.volume.hu import WINDOW_HU, hu_to_attenuation, hu_to_unit, unit_to_attenuation
from clsdm.xray.preprocess import expose
from clsdm_trainer.anatomy import Pose, place
from clsdm_trainer.batches import Batch
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import BEST, CHECKPOINT, Runner
from clsdm_trainer.losses import info_nce, local_and_global_contrast
from clsdm_trainer.stages import AutoencoderStage

TRUTH_WORDS = {"ct", "truth", "target", "label", "reference", "unit", "volume", "hu"}


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three stages, trained a little."""
    folder = tmp_path_factory.mktemp("run")
    train(tiny_config(steps=3), store, folder, *STAGE_NAMES)
    return folder


@pytest.fixture
def runners(run: Path, store: Store, tmp_path: Path) -> dict[str, Runner]:
    """Each stage before its first step, on top of the trained earlier ones."""
    made = {}
    for name in STAGE_NAMES:
        folder = tmp_path / name
        later = STAGE_NAMES[STAGE_NAMES.index(name) :]
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*later))
        # Without weight decay, so that only a gradient can move a parameter.
        config = tiny_config(adversarial_start=0, optimiser={"lr": 1e-3, "warmup_steps": 1, "weight_decay": 0.0})
        made[name] = tiny_runner(config, name, store, folder)
    return made


# 1. Ground truth leaks into the scored result.


def test_1_reconstruct_takes_no_ground_truth():
    arguments = inspect.signature(reconstruction.reconstruct).parameters
    options = inspect.signature(reconstruction.Options).parameters
    assert {"xrays", "bundle", "options"} <= arguments.keys()
    named = {word for name in (*arguments, *options) for word in name.split("_")}
    assert named & TRUTH_WORDS == set()
    annotated = " ".join(str(parameter.annotation) for parameter in arguments.values())
    assert "CTVolume" not in annotated


@pytest.mark.parametrize("name", ["alignment", "diffusion"])
def test_1_a_mutated_ground_truth_leaves_the_reconstruction_as_it_was(name, runners):
    stage, batch = runners[name].stage, runners[name].validation[0]
    with torch.no_grad():
        before = stage.estimate(batch)
        mutated = Batch(-batch.unit.flip(2), 1.0 - batch.known, batch.images, batch.cameras, batch.random)
        after = stage.estimate(mutated)
        other = stage.estimate(Batch(batch.unit, batch.known, batch.images.flip(-1), batch.cameras, batch.random))
    assert before
    for product, unit in before.items():
        assert torch.equal(unit, after[product])
        assert not torch.equal(unit, other[product])  # it does depend on the X-rays


# 2. Peak 4095 on data of range 2500; volumes as uint8.


def test_2_differences_below_one_grey_level_of_uint8_are_scored():
    truth = np.full((16, 16, 16), 40.0)
    assert metrics.honest(truth + 1.0, truth)["mae_hu"] == pytest.approx(1.0)  # uint8 would round it to 0 or 9.8
    assert metrics.honest(truth + 1.0, truth)["psnr_3d_db"] == pytest.approx(20.0 * math.log10(2500.0))


# 3. Checkpoints selected on the test list; patients on both sides.


def test_3_training_and_selection_do_not_see_the_test_patients(run, tmp_path):
    spoiled = tiny_store(tmp_path / "store")
    for case in spoiled.cases("test"):
        spoiled.path(case).write_bytes(b"not a volume")
    train(tiny_config(steps=3), spoiled, tmp_path / "run", *STAGE_NAMES)
    for name in STAGE_NAMES:
        assert differences(checkpoint(run, name), checkpoint(tmp_path / "run", name)) == []
        bests = [load_state(folder / name / BEST) for folder in (run, tmp_path / "run")]
        assert differences(*bests) == []


def test_3_selection_does_see_the_validation_patients(run, tmp_path):
    other = tiny_store(tmp_path / "store")
    (val,) = other.cases("val")
    np.save(other.path(val), np.array(other.volume(val))[::-1])
    train(tiny_config(steps=3), other, tmp_path / "run", "autoencoder")
    scores = [load_state(folder / "autoencoder" / BEST)["psnr_round_trip_db"] for folder in (run, tmp_path / "run")]
    assert scores[0] != scores[1]


def test_3_a_patient_on_two_sides_is_refused(tmp_path):
    tiny_store(tmp_path)
    manifest = tmp_path / "manifest.json"
    table = json.loads(manifest.read_text().replace('"patient-e"', '"patient-a"'))
    manifest.write_text(json.dumps(sealed(table)))
    with pytest.raises(InputError, match="'patient-a' is in two splits"):
        Store.open(tmp_path)


# 4. Axis orders.

BALL_MM = (60.0, -24.0, 84.0)  # patient's left, anterior, superior


def exposed_ball() -> tuple[torch.Tensor, object]:
    """Frontal and lateral X-rays (1, 2, 2, s, s) of one small dense ball, and their cameras."""
    points = voxel_centres(48, 8.0)
    hu = torch.where((points - torch.tensor(BALL_MM)).norm(dim=-1) < 16.0, 1000.0, -1000.0)[None, None]
    views = [[preset("chest").view(angle) for angle in (0.0, 90.0)]]
    return expose(hu_to_attenuation(hu), 8.0, views, Detector(96, 480.0))


def brightest(image: torch.Tensor) -> tuple[float, float]:
    """(row, column) of the centre of mass above the background, from the centre of the image."""
    weight = image.clamp_min(0.0)
    place_of = torch.arange(len(image)) - (len(image) - 1) / 2
    return (
        float((weight.sum(1) * place_of).sum() / weight.sum()),
        float((weight.sum(0) * place_of).sum() / weight.sum()),
    )


def test_4_the_patients_left_is_right_and_superior_is_up_in_a_frontal_x_ray():
    images, _ = exposed_ball()
    (row, column), (side_row, side_column) = (brightest(images[0, view, 0]) for view in (0, 1))
    assert column * 5.0 == pytest.approx(BALL_MM[0], abs=8.0)  # columns run to the patient's left
    assert row * 5.0 == pytest.approx(-BALL_MM[2], abs=8.0)  # rows to the feet
    assert side_column * 5.0 == pytest.approx(BALL_MM[1], abs=8.0)  # in a left lateral, columns run to posterior
    assert side_row * 5.0 == pytest.approx(-BALL_MM[2], abs=8.0)


@pytest.mark.parametrize("lift", ["geometry", "parallel"])
def test_4_lifted_frontal_and_lateral_meet_where_the_ball_is_in_z_y_x(lift):
    images, cameras = exposed_ball()
    where = {"geometry": lift_rays, "parallel": parallel_rays}[lift](cameras, voxel_axis(48, 8.0)).where
    frontal, lateral = look_up(images[:, :, :1] + 1.0, where)[0, :, 0]
    hull = frontal * lateral
    position = (hull[..., None] * voxel_centres(48, 8.0)).sum((0, 1, 2)) / hull.sum()
    # Without cone-beam geometry the image (480 mm at the isocentre) is stretched over the cube (384 mm).
    expected = torch.tensor(BALL_MM) * (1.0 if lift == "geometry" else 384.0 / 480.0)
    torch.testing.assert_close(position, expected, rtol=0, atol=8.0)


def test_4_augmented_volumes_keep_their_axes():
    hu = torch.full((1, 20, 20, 20), -1000, dtype=torch.int16)
    hu[0, 16, 10, 4] = 1000
    unit, _ = place([padded_anatomy(hu[0])], [Pose(np.eye(3), np.zeros(3))], GRID)
    assert np.unravel_index(int(unit[0, 0].argmax()), (16, 16, 16)) == (14, 8, 2)


# 5. Parameters that no optimiser holds or no gradient reaches.


def test_5_every_parameter_of_the_model_is_moved_by_a_stage(runners):
    trained = {
        parameter_name
        for runner in runners.values()
        for parameter_name, parameter in runner.stage.model.named_parameters()
        if any(parameter is mine for module in runner.stage.modules.values() for mine in module.parameters())
    }
    assert trained == {name for name, _ in runners["diffusion"].stage.model.named_parameters()}


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_5_every_parameter_gets_a_gradient_and_moves(name, runners):
    runner = runners[name]
    modules = {key: dict(module.named_parameters()) for key, module in runner.stage.modules.items()}
    before = {key: {n: p.detach().clone() for n, p in own.items()} for key, own in modules.items()}
    reached: set[str] = set()
    for key, own in modules.items():
        for parameter_name, parameter in own.items():
            where = f"{key}.{parameter_name}"
            parameter.register_post_accumulate_grad_hook(
                lambda p, where=where: reached.add(where) if bool(p.grad.any()) else None
            )
    run_to(runner, 4)  # branches that start at zero pass a gradient on only after their first step
    everyone = {f"{key}.{parameter_name}" for key, own in modules.items() for parameter_name in own}
    assert everyone - reached == set()
    still = {
        f"{key}.{n}" for key, own in modules.items() for n, p in own.items() if torch.equal(p.detach(), before[key][n])
    }
    assert still == set()


def test_5_the_two_level_autoencoder_is_reached_too(store, tmp_path):
    model = {"autoencoder": {**MODEL["autoencoder"], "channels": [12, 24], "attention": True}}
    runner = tiny_runner(tiny_config(model=model), "autoencoder", store, tmp_path)
    reached = set()
    for parameter_name, parameter in runner.kept.named_parameters():
        parameter.register_post_accumulate_grad_hook(
            lambda p, name=parameter_name: reached.add(name) if bool(p.grad.any()) else None
        )
    run_to(runner, 3)
    assert {name for name, _ in runner.kept.named_parameters()} - reached == set()


# 6. The contrast saturates.


def voxel_latents(cosine: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Two (4, 8, 16, 16, 16) latents whose voxels agree with this mean cosine, and not at all across the batch."""
    generator = torch.Generator().manual_seed(0)
    a, noise = (F.normalize(torch.randn(4, 8, 16, 16, 16, generator=generator), dim=1) for _ in range(2))
    noise = F.normalize(noise - (noise * a).sum(1, keepdim=True) * a, dim=1)
    return a, cosine * a + math.sqrt(1.0 - cosine**2) * noise


def test_6_at_a_mean_cosine_of_three_hundredths_the_published_contrast_is_zero_and_ours_is_not():
    a, b = voxel_latents(0.03)
    assert float((a * b).sum(1).mean()) == pytest.approx(0.03, abs=1e-3)
    published = F.cross_entropy(torch.einsum("nczyx,mczyx->nm", a, b) / 0.1, torch.arange(4))
    assert float(published) < 1e-6
    a.requires_grad_()
    ours = local_and_global_contrast(a, b, torch.arange(256), 0.1)
    ours.backward()
    assert float(ours.detach()) > 1.0
    assert float(a.grad.norm()) > 1e-3


def test_6_a_batch_of_one_is_refused_and_so_is_a_recipe_that_wants_it():
    with pytest.raises(ValueError, match="at least 2"):
        info_nce(torch.randn(1, 8), torch.randn(1, 8), 0.1)
    with pytest.raises(ValueError, match=r"alignment\.batch\s.*greater than or equal to 2"):
        tiny_config(batch=1)


def test_6_the_contrast_of_a_new_alignment_has_a_gradient(runners):
    runner = runners["alignment"]
    batch = runner.data.batch(0, 2, xrays=True)
    terms = runner.stage.modules["alignment"](batch, 0)
    gradient = torch.autograd.grad(terms["contrast"], runner.stage.project_xray.weight)[0]
    assert float(terms["contrast"].detach()) > 0.5
    assert float(gradient.norm()) > 1e-4


# 7. Latent scale of the first batch, unused average, bfloat16 weights, two windows, lateral only, unused schedule.


def test_7_the_latent_scale_is_that_of_all_training_volumes(store, tmp_path):
    model = CLSDM(tiny_config().model)
    whole = AutoencoderStage(model, tiny_config().autoencoder).measure(store, [])
    inner = slice(2, 2 + GRID.size)
    units = hu_to_unit(store.stack("train").float())[:, None, inner, inner, inner]
    with torch.no_grad():
        latents = model.autoencoder.encode(units).mean
    torch.testing.assert_close(whole["mean"], latents.mean((0, 2, 3, 4)), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(whole["std"], latents.std((0, 2, 3, 4), correction=0), rtol=1e-3, atol=0)
    first = latents[:1].std((0, 2, 3, 4), correction=0)
    assert ((whole["std"] - first) / first).abs().max() > 3e-3  # one volume would have given something else


def test_7_the_average_is_what_is_selected_and_handed_on(run, store):
    state = load_state(run / "autoencoder" / CHECKPOINT)
    model = tiny_runner(tiny_config(steps=3), "alignment", store, run).stage.model
    for name, value in model.autoencoder.state_dict().items():
        assert torch.equal(value, state["ema"][f"autoencoder.{name}"])
        assert not torch.equal(value, state["players"]["autoencoder"][f"autoencoder.{name}"])


def test_7_weights_and_optimiser_are_float32_under_bfloat16_and_move_at_a_small_rate(store, tmp_path):
    optimiser = {"lr": 5e-5, "warmup_steps": 1, "weight_decay": 0.0, "decay": "constant"}
    runner = tiny_runner(tiny_config(precision="bf16-mixed", optimiser=optimiser), "autoencoder", store, tmp_path)
    before = {name: p.detach().clone() for name, p in runner.kept.named_parameters()}
    run_to(runner, 3)
    state = checkpoint(tmp_path, "autoencoder")
    moments = [entry["exp_avg"] for entry in state["optimisers"]["autoencoder"]["state"].values()]
    tensors = [*state["players"]["autoencoder"].values(), *state["ema"].values(), *moments]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    moved = torch.cat([(p.detach() != before[name]).flatten() for name, p in runner.kept.named_parameters()])
    assert float(moved.float().mean()) > 0.99  # 81 % in the published code


def python_files() -> list[Path]:
    roots = [Path(package.__file__).parent for package in (clsdm, clsdm_bench, clsdm_trainer)]
    return sorted(path for root in roots for path in root.rglob("*.py"))


def numbers_in(tree: ast.AST) -> set[float]:
    """Every number in a file, with its sign."""
    negated = {id(node.operand) for node in ast.walk(tree) if isinstance(node, ast.UnaryOp)}
    return {
        -float(node.operand.value) if isinstance(node, ast.UnaryOp) else float(node.value)
        for node in ast.walk(tree)
        if id(node) not in negated
        and isinstance(constant := getattr(node, "operand", node), ast.Constant)
        and type(constant.value) in (int, float)
    }


def test_7_only_one_module_knows_a_hu_window():
    window = {*WINDOW_HU, WINDOW_HU[1] - WINDOW_HU[0]}
    found = {
        (path.name, value)
        for path in python_files()
        for value in numbers_in(ast.parse(path.read_text(encoding="utf-8"))) & window
    }
    assert {("hu.py", -1024.0), ("hu.py", 1476.0)} <= found  # the search does find it
    assert {name for name, _ in found} == {"hu.py"}


def test_7_only_one_module_defines_the_window_and_its_conversions():
    owned = {"WINDOW_HU", "WINDOW_WIDTH_HU", "hu_to_unit", "unit_to_hu", "hu_clamped"}
    defined = set()
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            name = node.id if stored else getattr(node, "name", None) if isinstance(node, ast.FunctionDef) else None
            if name in owned:
                defined.add((path.name, name))
    assert defined == {("hu.py", name) for name in owned}


@pytest.mark.parametrize("name", ["alignment", "diffusion"])
@pytest.mark.parametrize("angle_deg", [0.0, 90.0], ids=["frontal only", "lateral only"])
def test_7_one_view_of_either_kind_is_enough(name, angle_deg, runners):
    stage, batch = runners[name].stage, runners[name].validation[0]
    views = [[preset("chest").view(angle_deg)]]
    config = stage.model.config
    images, cameras = expose(unit_to_attenuation(batch.unit), GRID.spacing_mm, views, config.detector)
    with torch.no_grad():
        estimates = stage.estimate(Batch(batch.unit, batch.known, images, cameras, batch.random))
    for unit in estimates.values():
        assert unit.shape == batch.unit.shape
        assert unit.isfinite().all()


def test_7_the_schedule_really_changes_the_learning_rate(store, tmp_path):
    optimiser = {"lr": 1e-3, "warmup_steps": 2, "weight_decay": 0.0}
    runner = tiny_runner(tiny_config(steps=6, optimiser=optimiser), "autoencoder", store, tmp_path)
    rates, paces = [], []
    weight = runner.stage.model.autoencoder.encoder.stem.weight

    def watch(record: dict) -> None:
        rates.append(runner.optimisers["autoencoder"].param_groups[0]["lr"])
        paces.append(float((weight.detach() - watch.before).abs().mean()))
        watch.before = weight.detach().clone()

    watch.before = weight.detach().clone()
    runner.report = watch
    run_to(runner, 6)
    shape = [0.5 * (1.0 + math.cos(math.pi * step / 6)) for step in range(6)]
    assert rates == pytest.approx(
        [1e-3 * warm * value for warm, value in zip((0.5, 1, 1, 1, 1, 1), shape, strict=True)]
    )
    assert paces[5] < 0.25 * max(paces)  # and the weights follow it
