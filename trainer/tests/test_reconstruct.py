"""Reconstruction: reproducible, for any set of views, in the right place, and blind to the truth."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_bundle import CONFIG, PIXELS, small_bundle, small_phantom, small_xrays

from clsdm import reconstruction
from clsdm import samples as module
from clsdm.errors import Cancelled, InputError, in_full
from clsdm.geometry.view import PRESETS, View
from clsdm.hanging import Hang, Hanging
from clsdm.model.bundle import Bundle
from clsdm.model.schedule import ProcessConfig
from clsdm.progress import silent
from clsdm.quality.compare import compare
from clsdm.reconstruction import MAX_VIEWS, Options, choose_device, reconstruct
from clsdm.samples import sample_noise
from clsdm.xray.preprocess import XRay, prepare
from clsdm.xray.read import GeometryOverrides, read_xray

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def xrays() -> list[XRay]:
    return small_xrays(small_phantom())


def hu(xrays: list[XRay], bundle: Bundle, **options: object) -> np.ndarray:
    return reconstruct(xrays, bundle, Options(**CPU, **options)).volume.hu


# The same again


@pytest.mark.parametrize("product", ["mean", "sample", "ensemble"])
def test_the_same_seed_gives_the_same_bits(product, xrays, small_model):
    options = Options(product, samples=3, seed=5, device="cpu")
    first, second = (reconstruct(xrays, small_model, options) for _ in range(2))
    assert first.volume.hu.tobytes() == second.volume.hu.tobytes()
    assert first.coverage.hu.tobytes() == second.coverage.hu.tobytes()
    if product == "ensemble":
        assert first.spread.hu.tobytes() == second.spread.hu.tobytes()
    assert first.provenance == second.provenance


def test_another_seed_is_another_sample_and_the_same_mean(xrays, small_model):
    assert np.array_equal(hu(xrays, small_model), hu(xrays, small_model, seed=1))
    first, second = (hu(xrays, small_model, product="sample", seed=seed) for seed in (0, 1))
    assert np.abs(first - second).mean() > 10.0


def test_the_state_of_the_global_generators_does_not_matter(xrays, small_model):
    first = hu(xrays, small_model, product="sample")
    torch.manual_seed(123)
    np.random.seed(123)
    assert np.array_equal(hu(xrays, small_model, product="sample"), first)


def test_a_model_that_is_loaded_already_gives_the_same(xrays, small_model):
    given = reconstruct(xrays, small_model, Options("sample", device="cpu"), model=small_model.model())
    assert np.array_equal(given.volume.hu, hu(xrays, small_model, product="sample"))


def test_a_sample_does_not_depend_on_what_it_is_drawn_beside(xrays, small_model):
    model = small_model.model()
    with torch.inference_mode():
        condition = model.align(*prepare(xrays, model.config.detector, torch.device("cpu")))

        def draw(*numbers: int) -> torch.Tensor:
            span = range(numbers[0], numbers[-1] + 1)
            return module._volumes(model, condition, Options("ensemble"), span, 4, silent)

        together, pairs = draw(0, 1, 2, 3), (draw(0, 1), draw(2, 3))
        alone = [draw(number)[0] for number in range(4)]
    # Not to the bit: a convolution over a batch may add its terms in another order than one over a single volume.
    for number, single in enumerate(alone):
        torch.testing.assert_close(single, together[number], atol=0.05, rtol=1e-5)
        torch.testing.assert_close(single, pairs[number // 2][number % 2], atol=0.05, rtol=1e-5)
    assert float((alone[0] - alone[1]).abs().mean()) > 10.0
    assert np.array_equal(alone[0].numpy(), hu(xrays, small_model, product="sample"))


def test_noise_is_unit_gaussian_and_differs_between_seeds_and_numbers(small_model):
    model = small_model.model()
    drawn = torch.stack([sample_noise(model, seed, number) for seed in range(20) for number in range(20)])
    assert drawn.shape[1:] == model.latent_shape
    assert float(drawn.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)
    assert len({values.numpy().tobytes() for values in drawn}) == len(drawn)


def test_an_ensemble_is_mean_and_deviation_of_its_samples(xrays, small_model):
    model = small_model.model()
    with torch.inference_mode():
        condition = model.align(*prepare(xrays, model.config.detector, torch.device("cpu")))
        noise = [sample_noise(model, 7, number)[None] for number in range(5)]
        each = [module.unit_to_hu(model.decode(model.draw(condition, one)))[0, 0].double().numpy() for one in noise]
    result = reconstruct(xrays, small_model, Options("ensemble", samples=5, seed=7, device="cpu"))
    np.testing.assert_allclose(result.volume.hu, np.mean(each, axis=0), atol=0.05)
    np.testing.assert_allclose(result.spread.hu, np.std(each, axis=0, ddof=1), atol=0.1)
    assert result.spread.hu.max() > 50.0


# Any set of views


@pytest.mark.parametrize("angles", [(90.0,), (0.0,), (0.0, 90.0), (0.0, 45.0, 90.0), tuple(22.5 * k for k in range(8))])
def test_one_to_eight_views_are_taken_and_each_changes_the_result(angles, small_model):
    xrays = small_xrays(small_phantom(), angles)
    result = reconstruct(xrays, small_model, Options(**CPU))
    assert result.volume.hu.shape == (16, 16, 16)
    assert np.isfinite(result.volume.hu).all()
    assert len(result.residuals) == len(angles)
    assert result.coverage.hu.max() == len(angles)
    assert ("only one view" in " ".join(result.warnings)) is (len(angles) == 1)
    for dropped in range(len(angles) if len(angles) > 1 else 0):
        fewer = xrays[:dropped] + xrays[dropped + 1 :]
        assert np.abs(hu(fewer, small_model) - result.volume.hu).max() > 0.5


def test_none_and_nine_views_are_refused(small_model):
    view = PRESETS["chest"].view(0.0, PIXELS)
    one = XRay(np.random.default_rng(0).random((PIXELS, PIXELS), np.float32), view)
    with pytest.raises(InputError, match="expected 1 to 8, got 0"):
        reconstruct([], small_model)
    nine = [replace(one, view=replace(view, angle_deg=20.0 * k)) for k in range(MAX_VIEWS + 1)]
    with pytest.raises(InputError, match="expected 1 to 8, got 9"):
        reconstruct(nine, small_model)


@pytest.mark.parametrize("product", ["mean", "sample"])
def test_the_order_of_the_views_does_not_matter(product, small_model):
    xrays = small_xrays(small_phantom(), (0.0, 60.0, 90.0))
    first = hu(xrays, small_model, product=product)
    for order in ((2, 0, 1), (1, 0, 2)):
        other = hu([xrays[at] for at in order], small_model, product=product)
        np.testing.assert_allclose(other, first, atol=0.1)
    assert np.abs(first - hu([replace(xrays[0], view=xrays[1].view), *xrays[1:]], small_model)).max() > 5.0


def test_coverage_counts_the_views_that_measured_a_voxel(small_model):
    xrays = small_xrays(small_phantom(), preset="linac-kv")  # its panel spans 260 mm at the isocentre
    covered = reconstruct(xrays, small_model, Options(**CPU)).coverage.hu
    middle, edge = 8, 15  # 12 and 180 mm from the isocentre
    assert covered[middle, middle, middle] == 2
    assert covered[edge, middle, middle] == 0, "above both panels"
    assert covered[middle, middle, edge] == 1, "beside the frontal panel, on the lateral one"
    assert covered[middle, edge, middle] == 1, "beside the lateral panel, on the frontal one"
    assert covered[middle, edge, edge] == 0


def test_collimated_pixels_do_not_count_as_coverage(small_model):
    (xray,) = small_xrays(small_phantom(), (0.0,))
    right_half = np.broadcast_to(np.arange(PIXELS) >= PIXELS // 2, (PIXELS, PIXELS)).copy()
    finer = np.kron(xray.image, np.ones((2, 2), np.float32))  # enough measured pixels are left
    view = PRESETS["chest"].view(0.0, 2 * PIXELS)
    half = replace(xray, image=finer, view=view, valid=np.kron(right_half, np.ones((2, 2), bool)))
    covered = reconstruct([half], small_model, Options(**CPU)).coverage.hu
    assert covered[8, 8, :6].max() == 0, "the patient's right lies at image left"
    assert covered[8, 8, 10:14].min() == 1


HEADS = "the model small has only seen: heads"


@pytest.fixture
def of_heads(small_model) -> Bundle:
    return replace(small_model, manifest=replace(small_model.manifest, trained_anatomy="heads"))


@pytest.mark.parametrize("measure", [True, False])
def test_warnings_of_the_images_and_of_the_model_reach_the_user(measure, of_heads, xrays):
    warned = reconstruct([replace(xrays[0], warnings=("blurred",))], of_heads, Options(**CPU, measure=measure)).warnings
    assert any("blurred" in text for text in warned)
    assert HEADS in warned


@pytest.mark.parametrize(
    ("unusual", "hung", "said"),
    [([], None, False), (["unlike"], None, True), ([], Hanging((Hang(), Hang()), swapped=True), True)],
)
def test_what_the_model_has_seen_goes_without_saying_where_all_is_usual_and_exchanged_x_rays_are_named_first(
    unusual, hung, said, of_heads, xrays, monkeypatch
):
    for name, known in (
        ("calibrated", (None, object())),
        ("shown_by", None),
        ("doubts", unusual),
        ("looked_for", hung),
    ):
        monkeypatch.setattr(reconstruction, name, lambda *_, known=known: known)
    made = reconstruct([replace(each, warnings=("blurred",)) for each in xrays], of_heads, Options(**CPU))
    assert (HEADS in made.warnings) is said
    assert [text for text in made.warnings if text == "unlike"] == unusual
    if hung is not None:
        assert made.warnings[0].startswith("the frontal and the lateral X-ray seem to be exchanged")
        assert in_full(made.warnings[0]).endswith("give --frontal the file of --lateral, and the other way round")


def test_a_reconstruction_is_printed_in_a_line(small_model, xrays):
    made = reconstruct(xrays, small_model, Options(**CPU))
    said = repr(replace(made, warnings=("one", "two")))
    assert re.fullmatch(
        r"<Reconstruction: mean of small, 16 x 16 x 16 voxels of \S+ x \S+ x \S+ mm; X-rays PA: [a-z ]+, left lateral: [a-z ]+; "
        "2 warnings>", said
    ), said  # fmt: skip


def test_without_an_isocentre_the_volume_lies_around_the_origin(xrays, small_model):
    nowhere = [replace(xray, isocentre_mm=None) for xray in xrays]
    made = reconstruct(nowhere, small_model, Options(**CPU))
    assert made.volume.centre_mm == pytest.approx((0.0, 0.0, 0.0))
    assert made.provenance["isocentre_lps_mm"] is None  # not 0, which a place could be
    one_knows = [nowhere[0], replace(xrays[1], isocentre_mm=(1.0, 2.0, 3.0))]
    assert reconstruct(one_knows, small_model, Options(**CPU)).volume.centre_mm == pytest.approx((1.0, 2.0, 3.0))


# Nothing but X-rays


def test_x_rays_are_left_as_they_are(xrays, small_model):
    before = [xray.image.copy() for xray in xrays]
    reconstruct(xrays, small_model, Options("ensemble", samples=2, device="cpu"))
    assert all(np.array_equal(xray.image, image) for xray, image in zip(xrays, before, strict=True))


# What else can be asked for


def test_provenance_says_how_to_make_it_again(xrays, small_model):
    made = reconstruct(xrays, small_model, Options("ensemble", steps=1, samples=2, seed=9, device="cpu")).provenance
    expected = {"model": "small", "model_sha256": small_model.hash, "product": "ensemble", "seed": 9, "samples": 2}
    assert expected.items() <= made.items()
    assert (made["steps"], made["device"]) == (1, "cpu")
    assert [view["angle_deg"] for view in made["views"]] == [0.0, 90.0]
    plain = reconstruct(xrays, small_model, Options(**CPU)).provenance
    assert (plain["seed"], plain["samples"], plain["steps"]) == (None, None, None)


def test_the_number_of_steps_matters_and_is_reported(xrays, small_model):
    reports: list[tuple[str, int, int]] = []
    options = Options("ensemble", steps=3, samples=3, device="cpu")
    three = reconstruct(xrays, small_model, options, lambda *args: reports.append(args)).volume.hu
    assert np.abs(three - hu(xrays, small_model, product="ensemble", steps=1, samples=3)).max() > 1.0
    done = [done for stage, done, total in reports if stage == "sample"]
    assert done == sorted(done)
    assert reports[-2:] == [("decode", 3, 3), ("measure", 1, 1)]
    assert ("sample", 9, 9) in reports


def test_a_reporter_may_cancel_at_any_point(xrays, small_model):
    for stage in ("load model", "align X-rays", "sample", "decode"):

        def report(name: str, done: int, total: int, stage: str = stage) -> None:
            if name == stage:
                raise Cancelled

        with pytest.raises(Cancelled):
            reconstruct(xrays, small_model, Options("sample", device="cpu"), report)


def test_the_published_diffusion_is_sampled_too_and_knows_its_limit(xrays, tmp_path):
    bundle = small_bundle(tmp_path / "b", replace(CONFIG, process=ProcessConfig("ddpm", steps=3, train_steps=20)))
    first, second = (hu(xrays, bundle, product="sample", seed=seed) for seed in (0, 1))
    assert np.isfinite(first).all()
    assert np.abs(first - second).max() > 10.0
    with pytest.raises(InputError, match="steps: expected at most the model's 20, got 21"):
        reconstruct(xrays, bundle, Options("sample", steps=21))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"product": "median"}, "product"),
        ({"steps": 0}, "steps"),
        ({"steps": 1001}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"steps": True}, "steps"),
        ({"samples": 1}, "samples"),
        ({"samples": None}, "samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**63}, "seed"),
    ],
)
def test_an_option_out_of_range_is_named(options, named):
    with pytest.raises(InputError, match=f"^{named}: expected|^{named}: an ensemble needs"):
        Options(**options)


def test_numpys_whole_numbers_go_into_a_record():
    options = Options("ensemble", steps=np.int64(3), samples=np.int32(2), seed=np.uint8(1))
    assert json.loads(json.dumps(options.recorded)) == Options("ensemble", steps=3, samples=2, seed=1).recorded


def test_an_unknown_or_absent_device_is_refused(xrays, small_model):
    with pytest.raises(InputError, match="device: expected auto, cpu or cuda, got 'tpu'"):
        reconstruct(xrays, small_model, Options(device="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="finds no CUDA GPU"):
            reconstruct(xrays, small_model, Options(device="cuda"))


def test_the_residual_is_of_the_volume_itself(xrays, small_model):
    result = reconstruct(xrays, small_model, Options(**CPU))
    for xray, residual in zip(xrays, result.residuals, strict=True):
        assert isinstance(xray.view, View)
        assert residual.angle_deg == xray.view.angle_deg
        assert residual.rmse > 0.05, "random weights cannot explain an X-ray"
    compared = compare(result.volume, None, xrays).reprojections
    assert [each.rmse for each in compared] == [each.rmse for each in result.residuals], "compare says the same"


@pytest.mark.parametrize(
    ("version", "refused"), [("2.9.1", True), ("2.9.0+cu130", True), ("2.10.0", False), ("2.8.0", False)]
)
@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_is_not_used_with_the_torch_that_computes_wrongly_there(version, refused, name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "__version__", version)
    assert choose_device("cpu").type == "cpu"
    if not refused:
        assert choose_device(name).type == "cuda"
        return
    with pytest.raises(InputError, match=r"wrongly on CUDA; install torch 2\.10 or later, or use --device cpu"):
        choose_device(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "model"), [("camera", "body128"), ("brick", "body128"), ("brick", "openkbp64"), ("page", "body128")]
)
def test_what_is_no_x_ray_of_a_trunk_is_refused_or_said_not_to_be_trusted(tmp_path, name, model):
    picture = getattr(pytest.importorskip("skimage.data"), name)()
    geometry = GeometryOverrides(pixel_mm=400.0 / max(picture.shape))
    xrays = []
    for angle, pixels in ((0.0, picture), (90.0, np.roll(picture, 60, axis=0))):  # one image twice is refused as that
        Image.fromarray(pixels.copy()).save(tmp_path / f"{angle:.0f}.png")
        xrays.append(read_xray(tmp_path / f"{angle:.0f}.png", angle, geometry))
    try:
        result = reconstruct(xrays, Bundle.open(model), Options("mean", device="cpu"))
    except InputError as error:
        assert "these are no X-rays of a patient" in str(error)  # noqa: PT017 - either answer is right
        return
    assert sum("disagree: do not trust the volume" in warning for warning in result.warnings) == 2
    assert any("is it an X-ray of a trunk?" in warning for warning in result.warnings)
