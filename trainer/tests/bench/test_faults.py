"""A small slice of the benchmark of faults: damaged inputs, kills and full disks end as they should.

The whole of it: ``python trainer/benchmarks/faults/mutated.py``, ``kills.py`` and ``full_disk.py``.
"""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import REPOSITORY

FAULTS = REPOSITORY / "trainer" / "benchmarks" / "faults"
KINDS = ("film", "scan", "bundle", "request", "line", "store", "checkpoint", "recipe")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scripts import one another by file name."""
    monkeypatch.syspath_prepend(str(FAULTS))
    return FAULTS


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts."""
    command = [sys.executable, str(FAULTS / name), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900, check=False)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits memory, makes FIFOs and devices")
def test_a_slice_of_damaged_inputs_is_refused_or_right(tmp_path):
    told = tmp_path / "faults.txt"
    done = script("mutated.py", "--count", "80", "--first", "100000", "--faults", str(told))
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr[-2000:]}{told.read_text()[-5000:] if told.exists() else ''}"
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| ") for row in rows[1:]] == [*KINDS, "all"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_training_that_is_killed_goes_on_to_the_same_bits():
    done = script("kills.py", "--training", "2")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "| training | 2 | 2 |" in done.stdout


def test_the_judge_sees_every_kind_of_fault(faults, tmp_path, monkeypatch):
    import judging
    from hostile_inputs import Hostile

    endings = {
        "refused": judging.Ended(2, "", "clsdm: no\n"),
        "right": judging.Ended(0, "", ""),
        "not one line": judging.Ended(2, "", "clsdm: no\nand no\n"),
        "over 2 GB": judging.Ended(2, "", "clsdm: takes more memory than there is\n"),
        "traceback": judging.Ended(1, "", ""),
        "left behind": judging.Ended(2, "", "clsdm: no\n"),
        "wrongly accepted": judging.Ended(0, "", ""),
    }
    for column, ended in endings.items():
        where = tmp_path / column
        where.mkdir()
        (where / "x.png").write_text("damaged")
        hostile = Hostile(where / "x.png", where, "damaged", contradicts=column == "wrongly accepted")

        def called(*_: object, ended=ended, column=column, where=where) -> object:
            if column == "left behind":
                (where / "half").write_text("half")
            return ended, lambda: False

        monkeypatch.setitem(judging.JUDGES, "film", called)
        assert judging.judge("film", hostile, None, where).column == column

    def raising(*_: object) -> object:
        raise KeyError("what nobody expected")

    monkeypatch.setitem(judging.JUDGES, "film", raising)
    assert judging.judge("film", hostile, None, where).column == "traceback"


def test_a_file_is_well_formed_where_neither_a_checksum_nor_its_own_numbers_tell(faults, tmp_path):
    import SimpleITK as sitk  # noqa: N813
    from PIL import Image
    from wellformed import well_formed

    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 251
    names = ("x.nii", "x.nii.gz", "x.mha", "x_packed.mha", "x.nrrd", "x.jpg", "x.png")
    for name in names:
        if name.endswith((".jpg", ".png")):
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
        else:
            sitk.WriteImage(sitk.GetImageFromArray(pixels), str(tmp_path / name), useCompression="packed" in name)
    whole = {name: (tmp_path / name).read_bytes() for name in names}

    def fine(name: str, data: bytes) -> bool:
        (tmp_path / name).write_bytes(data)
        return well_formed(tmp_path / name, tmp_path)

    nifti = whole["x.nii"]
    assert fine("x.nii", nifti[:70] + struct.pack("<h", 4) + nifti[72:]), "int16 for uint16: as many bytes"
    assert not fine("x.nii", nifti[:70] + struct.pack("<h", 2) + nifti[72:])
    assert fine("x.mha", whole["x.mha"].replace(b"ElementSpacing = 1 1", b"ElementSpacing = 1 2"))
    assert not fine("x.mha", whole["x.mha"].replace(b"DimSize = 64 64", b"DimSize = 64 63"))
    packed = whole["x_packed.mha"]
    assert fine("x_packed.mha", packed.replace(b"ElementSpacing = 1 1", b"ElementSpacing = 1 2"))
    assert not fine("x_packed.mha", packed[:-9] + bytes([packed[-9] ^ 1]) + packed[-8:])
    for name in names:
        assert fine(name, whole[name]) is (name != "x.png"), name
        assert not fine(name, whole[name][:-40]), name


def test_the_same_number_is_the_same_damage_and_another_number_another(faults):
    from mutations import damage_bytes, damage_json

    data, table = bytes(range(256)) * 8, {"a": [1, 2, {"b": "c"}]}
    for damage, content in ((damage_bytes, data), (damage_json, table)):
        made = [damage(content, np.random.default_rng([0, number])) for number in (1, 1, *range(2, 12))]
        assert made[0] == made[1]
        assert len({each.data for each in made}) > 5
    assert json.dumps(table) == '{"a": [1, 2, {"b": "c"}]}', "the original is left alone"


def test_a_file_under_its_final_name_that_is_not_whole_is_seen(faults, tmp_path):
    from full_disk import judged

    (tmp_path / "r.json").write_text('{"half": ')
    said = f"clsdm: {tmp_path}: cannot be written (disk full: no space; / has 1 GB left, at least 2 GB are needed)\n"
    assert judged(2, said, tmp_path) == "half-written"
    (tmp_path / "r.json").unlink()
    assert judged(2, said, tmp_path) == "refused"
    assert judged(2, f"clsdm: {tmp_path}: disk full\n", tmp_path) == "disk not named"
    assert judged(2, f"clsdm: {tmp_path}: no\n", tmp_path) == "disk not named"
    assert judged(1, "Traceback", tmp_path) == "traceback"
    (tmp_path / ".clsdm-x").mkdir()
    (tmp_path / ".clsdm-x" / "part").write_text("")
    assert judged(0, "", tmp_path) == "left behind"
