"""A bundle is verified before it is used, and whatever is wrong with it is said in one line."""

import hashlib
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch
from one_line import refusal
from processes import peak_memory_bytes
from safetensors.torch import load, save
from small_bundle import CONFIG, edited, random_weights, small_bundle, small_manifest

from clsdm.files.digest import SEAL
from clsdm.files.strict_json import to_plain
from clsdm.model.bundle import (
    CARD,
    MANIFEST,
    WEIGHTS,
    Bundle,
    decode_weights,
    encode_weights,
)


def refused(path: Path, *, build: bool = False) -> str:
    """The one line that says why a bundle is refused, when it is opened or, where ``build``, when it is built."""
    message = refusal(Bundle.open(path).model) if build else refusal(Bundle.open, path)
    assert str(path) in message
    return message


def entry(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def plain_model(**changes: dict[str, object]) -> dict[str, dict[str, object]]:
    """The small model's configuration as JSON types, with fields of its sections changed."""
    plain = json.loads(json.dumps(to_plain(CONFIG)))
    return plain | {section: plain[section] | fields for section, fields in changes.items()}


def with_weights(bundle: Bundle, folder: Path, data: bytes) -> Path:
    """A copy of a bundle with other weights under a hash that is right."""
    files = {name: vars(each) for name, each in bundle.files.items()} | {WEIGHTS: entry(data)}
    edited(bundle, folder, files=files)
    (folder / WEIGHTS).write_bytes(data)
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w") as stream:
        for file in folder.iterdir():
            stream.write(file, file.name)
    return archive


# Opening


def test_folder_and_archive_hold_the_same_model(small_model, tmp_path):
    archived = Bundle.open(zipped(small_model.path, tmp_path / "model.zip"))
    assert archived.manifest == small_model.manifest
    assert archived.hash == small_model.hash == hashlib.sha256((small_model.path / WEIGHTS).read_bytes()).hexdigest()
    weights, written = small_model.model().state_dict(), random_weights()
    assert weights.keys() == written.keys()
    for name, value in archived.model().state_dict().items():
        assert torch.equal(value, weights[name]), name
        assert torch.equal(value, written[name]), name


def test_an_archive_of_the_folder_with_its_name_holds_it_too(small_model, tmp_path):
    archive = tmp_path / "model.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for file in small_model.path.iterdir():
            stream.write(file, f"any name/{file.name}")
        stream.writestr("__MACOSX/any name/._bundle.json", b"x")
    assert Bundle.open(archive).hash == small_model.hash
    with zipfile.ZipFile(archive, "a") as stream:
        stream.writestr("another/bundle.json", b"{}")
    assert "holds no bundle.json" in refused(archive)


def test_a_model_comes_ready_to_run_and_not_to_train(small_model):
    model = small_model.model()
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_manifest_figures_and_card_are_kept(small_model):
    assert small_model.manifest == small_manifest()
    assert small_model.figures == {"psnr_db": {"mean": 0.0}}
    assert small_model.read(CARD) == b"# Small\n"


@pytest.mark.parametrize("name", [WEIGHTS, CARD])
def test_one_altered_byte_is_noticed(name, small_model, tmp_path):
    shutil.copytree(small_model.path, tmp_path / "b")
    data = bytearray((tmp_path / "b" / name).read_bytes())
    data[-1] ^= 1
    (tmp_path / "b" / name).write_bytes(data)
    message = refused(tmp_path / "b")
    assert name in message
    assert "SHA-256" in message


@pytest.mark.parametrize("name", [MANIFEST, WEIGHTS, CARD])
@pytest.mark.parametrize("archive", [False, True])
def test_a_missing_file_is_named(name, archive, small_model, tmp_path):
    shutil.copytree(small_model.path, tmp_path / "b")
    (tmp_path / "b" / name).unlink()
    path = zipped(tmp_path / "b", tmp_path / "b.zip") if archive else tmp_path / "b"
    message = refused(path)
    assert name in message
    assert "incomplete" in message


OUTSIDE = ("../secret", "/etc/hostname", "a/../../secret", "..\\secret", "C:secret", "", ".")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        *(
            ({"schema": v}, f"schema version {v!r} is unknown; this program reads 2")
            for v in (3, "2", 0, None, [1], True)
        ),
        ({"window_hu": [-500.0, 2000.0]}, "window_hu is (-500.0, 2000.0), this program works with (-1024.0, 1476.0)"),
        ({"colour": "red"}, f"{MANIFEST}.colour: unknown field"),
        ({"model": plain_model(condition={"colour": 1})}, "model.condition.colour: unknown field"),
        ({"licence": None}, "licence: missing"),
        ({"encoding": "pickle"}, "encoding: expected one of"),
        *(({"files": {name: entry(b"secret")}}, "lies outside the bundle") for name in OUTSIDE),
        ({"files": {WEIGHTS: None}}, f"files: {WEIGHTS} is missing"),
        ({"files": {CARD: {"sha256": "0" * 64}}}, "SHA-256"),
        ({"files": {CARD: {"bytes": 5}}}, "the manifest says 5"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_with_its_field(changes, said, small_model, tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    if "files" in changes:
        files = {name: vars(each) for name, each in small_model.files.items()}
        files |= {name: each and files.get(name, {}) | each for name, each in changes["files"].items()}
        changes = {"files": {name: each for name, each in files.items() if each is not None}}
    assert said in refused(edited(small_model, tmp_path / "b", **changes))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, b'{"schema": ' + b"1" * 5000 + b"}"]
)
def test_a_manifest_that_is_no_object_is_refused(content, small_model, tmp_path):
    shutil.copytree(small_model.path, tmp_path / "b")
    (tmp_path / "b" / MANIFEST).write_bytes(content)
    assert MANIFEST in refused(tmp_path / "b")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_outside_is_refused_even_if_the_hash_is_right(small_model, tmp_path):
    (tmp_path / "secret").write_bytes((small_model.path / WEIGHTS).read_bytes())
    shutil.copytree(small_model.path, tmp_path / "b")
    (tmp_path / "b" / WEIGHTS).unlink()
    (tmp_path / "b" / WEIGHTS).symlink_to(tmp_path / "secret")
    assert "link to outside" in refused(tmp_path / "b")


def test_an_archive_member_outside_is_refused_and_nothing_is_unpacked(small_model, tmp_path):
    files = {each: vars(value) for each, value in small_model.files.items()} | {"../evil": entry(b"evil")}
    archive = zipped(edited(small_model, tmp_path / "b", files=files), tmp_path / "deep.zip")
    with zipfile.ZipFile(archive, "a") as stream:
        stream.writestr("../evil", b"evil")
    before = sorted(tmp_path.rglob("*"))
    assert "'../evil' lies outside the bundle" in refused(archive)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_bundle_at_all_is_refused(small_model, tmp_path):
    (tmp_path / "text").write_text("no zip")
    assert "not a bundle" in refused(tmp_path / "text")
    assert "no such bundle" in refused(tmp_path / "nowhere")
    assert MANIFEST in refused(tmp_path)
    archive = zipped(small_model.path, tmp_path / "b.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(archive[: len(archive) // 2])
    assert "not a bundle" in refused(tmp_path / "cut.zip")


def test_a_bomb_in_an_archive_is_refused_before_it_is_unpacked(small_model, tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, bytes(40 * 2**20))
    assert f"{MANIFEST}: 41,943,040 bytes of a bundle" in refused(tmp_path / "bomb.zip")
    with zipfile.ZipFile(tmp_path / "weights.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(small_model.path / MANIFEST, MANIFEST)
        archive.writestr(WEIGHTS, bytes(200 * 2**20))
    assert f"{WEIGHTS}: " in (message := refused(tmp_path / "weights.zip"))
    assert "that unpack to 209,715,200" in message


@pytest.mark.skipif(os.name == "nt", reason="needs a FIFO")
def test_a_fifo_in_place_of_a_bundle_or_of_a_file_in_it_is_refused_and_not_waited_for(small_model, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert "fifo: a FIFO, expected a bundle" in refused(tmp_path / "fifo")
    shutil.copytree(small_model.path, tmp_path / "b")
    for name in (CARD, MANIFEST):
        (tmp_path / "b" / name).unlink()
        os.mkfifo(tmp_path / "b" / name)
        assert f"{name}: a FIFO" in refused(tmp_path / "b")


def test_an_archive_with_damage_inside_is_refused(small_model, tmp_path):
    data = bytearray(zipped(small_model.path, tmp_path / "b.zip").read_bytes())
    at = data.index((small_model.path / WEIGHTS).read_bytes()[-1000:])
    data[at] ^= 255
    (tmp_path / "b.zip").write_bytes(data)
    assert WEIGHTS in refused(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("section", "field", "value", "named"),
    [
        ("grid", "size", 10**9, "model.grid.size"),
        ("grid", "size", 0, "model.grid.size"),
        ("grid", "size", 18, "model.autoencoder"),  # does not divide by 4: the cube would come out smaller
        ("grid", "spacing_mm", -1.0, "model.grid.spacing_mm"),
        ("detector", "size", 10**6, "model.detector.size"),
        ("detector", "field_mm", 0.0, "model.detector.field_mm"),
        ("process", "steps", 0, "model.process: steps"),
        ("process", "steps", 10**9, "model.process: steps"),
        ("process", "train_steps", 10**12, "model.process: train_steps"),
        ("process", "source_noise", 1e30, "model.process: source_noise"),
        ("process", "source_noise", -1.0, "model.process: source_noise"),
        ("process", "beta_start", 0.5, "model.process: beta_start"),
        ("process", "beta_start", 0.0, "model.process: beta_start"),
        ("process", "beta_end", 1.0, "model.process: beta_end"),
        ("condition", "blocks", 10**9, "model.condition.blocks"),
        ("autoencoder", "latent_channels", 10**9, "model.autoencoder.latent_channels"),
        ("autoencoder", "channels", [8] * 1000, "model.autoencoder.channels"),
        ("denoiser", "channels", [10**6, 16], "model.denoiser.channels"),
    ],
)
def test_sizes_no_model_has_are_refused_before_anything_is_built(section, field, value, named, small_model, tmp_path):
    assert named in refused(edited(small_model, tmp_path / "b", model=plain_model(**{section: {field: value}})))


@pytest.mark.parametrize("section", ["autoencoder", "condition"])
def test_a_configuration_that_cannot_be_built_is_refused(section, small_model, tmp_path):
    model = plain_model(**{section: {"channels": []}})
    assert "model: cannot be built" in refused(edited(small_model, tmp_path / "b", model=model), build=True)


def test_networks_too_large_for_any_computer_are_compared_with_the_weights_and_not_built(small_model, tmp_path):
    model = plain_model(condition={"channels": [16_384, 16_384], "blocks": 8})  # 29 GB a convolution
    before = peak_memory_bytes()
    assert "does not fit" in refused(edited(small_model, tmp_path / "b", model=model), build=True)
    assert peak_memory_bytes() - before < 500e6


# The manifest's own hash


@pytest.mark.parametrize("field", ["window_hu", "notice", "trained_anatomy", "figures"])
def test_a_manifest_that_was_altered_is_refused(field, small_model, tmp_path):
    shutil.copytree(small_model.path, tmp_path / "b")
    table = json.loads((tmp_path / "b" / MANIFEST).read_text())
    table[field] = "altered"
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(table))
    assert f"{MANIFEST}: was altered" in refused(tmp_path / "b")
    del table[SEAL]
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(table))
    assert f"{SEAL} is missing" in refused(tmp_path / "b")


def test_a_manifest_may_be_laid_out_anew_but_not_lose_its_hash_by_an_older_schema(small_model, tmp_path):
    table = json.loads((small_model.path / MANIFEST).read_text())
    shutil.copytree(small_model.path, tmp_path / "b")
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(dict(reversed(table.items()))))
    assert Bundle.open(tmp_path / "b").hash == small_model.hash
    del table[SEAL]
    (tmp_path / "b" / MANIFEST).write_text(json.dumps(table | {"schema": 1}))
    assert "schema version 1 is unknown; this program reads 2" in refused(tmp_path / "b")


# Weights


def test_weights_with_a_missing_an_extra_or_a_misshapen_entry_are_refused(small_model, tmp_path):
    weights = random_weights()
    name, value = next((name, value) for name, value in weights.items() if value.ndim > 3)
    for case, changed in (
        ("missing", {each: tensor for each, tensor in weights.items() if each != name}),
        ("extra", weights | {"intruder": torch.ones(2)}),
        ("misshapen", weights | {name: value[:-1].contiguous()}),
    ):
        message = refused(with_weights(small_model, tmp_path / case, save(changed)), build=True)
        assert WEIGHTS in message
        assert ("intruder" if case == "extra" else name) in message, message


def test_weights_that_are_not_finite_are_refused(small_model, tmp_path):
    weights = random_weights()
    weights["latent_mean"][1] = torch.nan
    message = refused(with_weights(small_model, tmp_path / "b", save(weights)), build=True)
    assert "latent_mean holds NaN" in message


def test_what_is_no_safetensors_is_refused_and_a_pickle_unopened(small_model, tmp_path):
    data, marker = small_model.read(WEIGHTS), tmp_path / "executed"
    attack = b"cposix\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."  # what pickle.loads would run
    for case, content in (("tail", data[:-10]), ("header", data[:20]), ("empty", b""), ("pickle", attack)):
        assert "not safetensors" in refused(with_weights(small_model, tmp_path / case, content), build=True)
    assert not marker.exists()


def test_int8_scales_that_do_not_fit_are_refused(tmp_path):
    bundle = small_bundle(tmp_path / "a", encoding="int8")
    stored = load(bundle.read(WEIGHTS))
    name = next(name for name in stored if name.endswith(".scale") and stored[name].numel() > 2)
    stored[name] = torch.ones(stored[name].numel() + 1)
    assert "scales" in refused(with_weights(bundle, tmp_path / "b", save(stored)), build=True)


def test_scales_that_would_multiply_the_weights_are_refused_before_they_do(tmp_path):
    bundle = small_bundle(tmp_path / "a", encoding="int8")
    stored = load(bundle.read(WEIGHTS)) | {
        "bomb": torch.ones(1, 10**6, dtype=torch.int8),
        "bomb.scale": torch.ones(10**6),
    }
    before = peak_memory_bytes()
    assert "scales" in refused(with_weights(bundle, tmp_path / "b", save(stored)), build=True)
    assert peak_memory_bytes() - before < 500e6


def test_float32_keeps_every_bit_and_float16_what_it_can_hold():
    weights = random_weights()
    for name, value in decode_weights(encode_weights(weights, "float32")).items():
        assert torch.equal(value, weights[name]), name
    coarse = decode_weights(encode_weights(weights, "float16"))
    assert coarse.keys() == weights.keys()
    for name, value in coarse.items():
        assert value.dtype == torch.float32
        held = weights[name] if value.ndim < 2 else weights[name].half().float()
        assert torch.equal(value, held), name
    again = decode_weights(encode_weights(coarse, "float16"))
    assert all(torch.equal(again[name], value) for name, value in coarse.items())


def test_vectors_hold_more_than_float16_can():
    """Power of errors at the lowest frequency grows with the number of voxels: 10172 in 128³, eight times that in 256³."""
    power = {"error_spectrum": torch.tensor([81376.0, 1e-9])}
    assert torch.equal(decode_weights(encode_weights(power, "float16"))["error_spectrum"], power["error_spectrum"])


def test_int8_is_off_by_at_most_half_a_step_of_each_output_channel():
    weights = random_weights() | {"lopsided": torch.tensor([[1000.0, -3.0], [1e-3, 2e-3], [0.0, 0.0]])}
    stored = encode_weights(weights, "int8")
    found = decode_weights(stored)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        if value.ndim < 2:
            assert torch.equal(found[name], value), name
            continue
        assert stored[name].dtype == torch.int8
        step = value.flatten(1).abs().amax(1) / 127.0
        error = (found[name] - value).flatten(1).abs().amax(1)
        assert bool((error <= 0.5001 * step).all()), name
    assert torch.equal(found["lopsided"][2], torch.zeros(2))


def test_an_int8_bundle_is_small_and_has_every_weight(small_model, tmp_path):
    bundle = small_bundle(tmp_path / "b", encoding="int8")
    assert bundle.files[WEIGHTS].bytes < 0.6 * small_model.files[WEIGHTS].bytes  # the rest is names and headers
    exact = random_weights()
    for name, value in bundle.model().state_dict().items():
        assert torch.allclose(value, exact[name], atol=0.005 * float(exact[name].abs().max())), name


def test_an_archive_is_verified_in_little_memory(tmp_path):
    bundle, archive, size = small_bundle(tmp_path / "b"), tmp_path / "b.zip", 100 * 2**20
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in (MANIFEST, CARD):
            file.write(bundle.path / name, name)
        file.writestr(WEIGHTS, (os.urandom(2**15) + bytes(2**20 - 2**15)) * (size // 2**20))
    tracemalloc.start()
    try:
        assert "the manifest says" in refused(archive)
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()
