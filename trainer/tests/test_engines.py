"""Networks as ONNX files: the same values as torch's for other views than those they were made with, and refused if not."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from small_bundle import run, small_xrays

import clsdm
from clsdm import engines
from clsdm.engines import NETWORKS, OPSET, TOLERANCE, inputs_of
from clsdm.errors import InputError
from clsdm.reconstruction import Options, reconstruct
from clsdm.volume.hu import unit_to_hu
from clsdm.xray.preprocess import prepare


@pytest.fixture(scope="module")
def exported(small_model, tmp_path_factory):
    """A network as a file, made once."""
    folder, made = tmp_path_factory.mktemp("onnx"), {}

    def export(name: str, views: int = 2) -> onnxruntime.InferenceSession:
        path = folder / f"{name}{views}.onnx"
        if path not in made:
            made[path] = engines.export_onnx(small_model, path, name, views)
        assert made[path] is not None
        assert made[path] <= TOLERANCE
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    return export


@pytest.mark.parametrize("views", [1, 2])
def test_the_mean_is_that_of_reconstruct(views, exported, small_model, films):
    xrays = small_xrays(clsdm.read_ct(films / "ct.nii.gz"), (10.0, 80.0, 130.0)[:views])
    (unit,) = exported("mean", views).run(None, inputs_of(xrays, small_model))
    known = reconstruct(xrays, small_model, Options("mean", device="cpu")).volume
    np.testing.assert_allclose(unit_to_hu(unit)[0, 0], known.hu, atol=1.25 * 1e3 * TOLERANCE)


def test_a_sample_is_drawn_by_three_files(exported, small_model, films):
    model = small_model.model("cpu")
    xrays = small_xrays(clsdm.read_ct(films / "ct.nii.gz"))
    estimate, mean, features = exported("align").run(None, inputs_of(xrays, small_model))
    x, t = np.random.default_rng(0).standard_normal(mean.shape, dtype=np.float32), np.array([0.3], np.float32)
    (predicted,) = exported("denoise").run(None, {"x": x, "t": t, "mean": mean, "features": features})
    (unit,) = exported("decode").run(None, {"latents": predicted})
    with torch.inference_mode():
        condition = model.align(*prepare(xrays, model.config.detector, torch.device("cpu")))
        known = model.denoise(torch.from_numpy(x), torch.from_numpy(t), condition)
        np.testing.assert_allclose(estimate, condition.estimate, atol=TOLERANCE)
        np.testing.assert_allclose(predicted, known, atol=TOLERANCE)
        np.testing.assert_allclose(unit, model.decode(known), atol=TOLERANCE)


def test_encode_gives_the_latents_and_the_file_says_what_it_is(exported, small_model):
    session = exported("encode")
    unit = np.random.default_rng(0).uniform(-1, 1, session.get_inputs()[0].shape).astype(np.float32)
    with torch.inference_mode():
        known = small_model.model("cpu").encode(torch.from_numpy(unit))
    np.testing.assert_allclose(session.run(None, {"unit": unit})[0], known, atol=TOLERANCE)
    about = session.get_modelmeta().custom_metadata_map
    assert about["notice"] == clsdm.NOTICE
    assert about["model_sha256"] == small_model.hash
    assert json.loads(about["window_hu"]) == list(small_model.manifest.window_hu)


def test_the_command_tells_opset_and_difference(small_model, tmp_path, capfd):
    code, said, error = run(
        capfd, "bundle", "export", small_model.path, "--onnx", tmp_path / "d.onnx", "--network", "decode"
    )
    assert (code, error) == (0, "")
    assert f"decode, opset {OPSET}, differs from torch by at most" in said
    assert [path.name for path in tmp_path.iterdir()] == ["d.onnx"]
    code, said, _ = run(
        capfd, "bundle", "export", small_model.path, "--onnx", tmp_path / "d.onnx", "--network", "decode", "--json"
    )  # over its own
    stages = [(line["stage"], line["i"]) for line in map(json.loads, said.splitlines()) if "stage" in line]
    assert stages == [("verify", 1), ("export", 0), ("export", 1)]  # not "verify 100 %" for minutes
    for content in (b"", b"a network of somebody else"):
        (tmp_path / "d.onnx").write_bytes(content)
        with pytest.raises(InputError, match=r"d\.onnx: is there and was not written by this program"):
            engines.export_onnx(small_model, tmp_path / "d.onnx", "decode")
        assert (tmp_path / "d.onnx").read_bytes() == content


def test_a_file_that_differs_from_torch_is_not_kept(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(
        NETWORKS, "decode", engines.Network(lambda model, x: model.decode(x) * Slightly.more, ("latents",), ("unit",))
    )
    real = engines._program

    def another(*words):
        made = real(*words)
        Slightly.more = 1.1
        return made

    monkeypatch.setattr(engines, "_program", another)
    with pytest.raises(InputError, match=r"differs from torch by .*; expected at most 0\.001"):
        engines.export_onnx(small_model, tmp_path / "d.onnx", "decode")
    assert list(tmp_path.iterdir()) == []


class Slightly:
    """Changed between export and check."""

    more = 1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export",), "--onnx: missing"),
        (("export", "--onnx", "x.onnx", "--views", "9"), "views: expected 1 to 8, got 9"),
        (("export", "--onnx", "bundle.json"), "expected a name that ends in .onnx"),
        (("info", "--onnx", "x.onnx"), "goes with bundle export"),
    ],
)
def test_what_cannot_be_exported_is_refused(words, said, small_model, monkeypatch, capfd):
    monkeypatch.chdir(small_model.path)
    before = sorted(small_model.path.iterdir())
    code, _, error = run(capfd, "bundle", words[0], small_model.path, *words[1:])
    assert (code, said in error, sorted(small_model.path.iterdir())) == (2, True, before), error


def test_without_the_exporter_one_line_says_what_to_install(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"pip install 'clsdm\[onnx\]'"):
        engines.export_onnx(small_model, tmp_path / "m.onnx")


def test_without_onnxruntime_nothing_is_compared(small_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert engines.export_onnx(small_model, tmp_path / "d.onnx", "decode") is None
    assert (tmp_path / "d.onnx").stat().st_size > 1000
