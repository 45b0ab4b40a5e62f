"""Nothing that is no CT is written as a result, and a machine that is too small is said to be so, with what to do."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_bundle import random_weights, reconstruct_command, small_bundle

from clsdm.app.cli import main
from clsdm.errors import InputError
from clsdm.model.clsdm import CLSDM
from clsdm.quality.result import check_result
from clsdm.reconstruction import Options, reconstruct
from clsdm.xray.read import read_xray


def body() -> np.ndarray:
    z, y, x = np.mgrid[-16:16, -16:16, -16:16]
    return np.where(x**2 + y**2 + z**2 < 100, 40.0, -1000.0).astype(np.float32)


def changed(kind: str) -> np.ndarray:
    hu = body()
    if kind == "NaN":
        hu[3, 4, 5] = np.nan
    elif kind == "infinite":
        hu[3, 4, 5] = np.inf
    return {
        "constant": np.full_like(hu, -1000.0),
        "no air": np.where(hu > -400, 1000.0, 0.0),
        "no tissue": np.where(hu > -400, -600.0, -1000.0),
        "saturated": np.where(hu > -400, -1000.0, 1476.0),
    }.get(kind, hu)


@pytest.mark.parametrize("kind", ["NaN", "infinite", "constant", "no air", "no tissue", "saturated"])
def test_a_volume_that_no_patient_has_is_refused(kind):
    with pytest.raises(InputError, match=r"^the reconstruction is no CT: "):
        check_result(changed(kind).astype(np.float32), None, np.ones((32, 32, 32)))


@pytest.mark.parametrize("which", ["spread", "coverage"])
def test_what_goes_with_a_volume_is_checked_too(which):
    parts = {"spread": np.ones((4, 4, 4)), "coverage": np.ones((4, 4, 4))}
    check_result(body(), parts["spread"], parts["coverage"])
    parts[which][1, 1, 1] = np.nan
    with pytest.raises(InputError, match=f"1 voxels of its {which} are NaN"):
        check_result(body(), parts["spread"], parts["coverage"])


@pytest.mark.parametrize("product", ["mean", "sample", "ensemble"])
@pytest.mark.parametrize("scale", [0.0, 1e30])
def test_a_model_that_gives_nothing_or_overflows_ends_in_an_error_and_no_file(product, scale, films, tmp_path, capfd):
    weights = {name: value * scale for name, value in random_weights().items()}
    bundle = small_bundle(tmp_path / "bundle", weights=weights)
    out = tmp_path / "out"
    more = ["--product", product, "--samples", "2", "--quiet"]
    assert main(reconstruct_command(films, bundle, out / "r.nii.gz", *more)) == 2
    err = [line for line in capfd.readouterr().err.splitlines() if line.startswith("clsdm: ")]
    assert len(err) == 1
    assert "the reconstruction is no CT" in err[0]
    assert not out.exists()
    with pytest.raises(InputError, match=r"^the reconstruction is no CT: "):
        reconstruct([read_xray(films / "frontal.dcm")], bundle, Options(product, samples=2, device="cpu"))


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore"), "the GPU ran out of memory"),
        (MemoryError(), "the computer ran out of memory"),
    ],
)
def test_out_of_memory_is_said_in_one_line_with_what_to_do(
    raised, said, films, small_model, tmp_path, capfd, monkeypatch
):
    def exhausted(*_: object) -> None:
        raise raised

    monkeypatch.setattr(CLSDM, "align", exhausted)
    monkeypatch.setattr(CLSDM, "decode", exhausted)
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--product", "sample", "--json")
    assert main(command) == 2
    out, err = capfd.readouterr()
    assert len(err.splitlines()) == 1
    assert err.startswith(f"clsdm: {said}")
    assert "--device cpu" in err
    assert "--at-once 1" in err
    assert '"kind": "memory"' in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs to know how much memory it has taken")
def test_a_computer_that_really_has_too_little_memory_says_so(films, small_model, tmp_path):
    code = """
import resource, sys
import clsdm.reconstruction, clsdm.app.request
from clsdm.app.cli import main
pages = int(open("/proc/self/statm").read().split()[0])
taken = pages * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + 60_000_000, taken + 60_000_000))
sys.exit(main(sys.argv[1:]))
"""
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--product", "sample")
    command[command.index("--bundle") + 1] = "openkbp64"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "memory" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_samples_are_the_same_however_many_are_drawn_at_once(films, small_model, tmp_path):
    from clsdm.volume.read import read_ct

    for number in (1, 3):
        more = ["--product", "ensemble", "--samples", "3", "--at-once", str(number), "--quiet"]
        assert main(reconstruct_command(films, small_model, tmp_path / f"r{number}.nii.gz", *more)) == 0
    one, three = (read_ct(tmp_path / f"r{number}.nii.gz").hu for number in (1, 3))
    np.testing.assert_allclose(one, three, atol=1.0)
    assert main(reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--at-once", "0")) == 2
