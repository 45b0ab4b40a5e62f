"""The command line: one path for people and programs, its protocol, and how it stops."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from small_bundle import CENTRE_MM, reconstruct_command, run, small_phantom

from clsdm.app.cli import build_parser, main
from clsdm.model.bundle import Bundle
from clsdm.quality.quantities import NO_TABLE, QUANTITIES
from clsdm.volume.write import write_ct

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def process(*arguments: str | Path) -> subprocess.Popen[str]:
    """The command line in a process of its own, as 3D Slicer starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "clsdm", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | ONE_THREAD,
    )


def request_file(path: Path, films: Path, bundle: Bundle, out: Path, **options: object) -> Path:
    views = [{"file": str(films / f"{name}.dcm")} for name in ("frontal", "lateral")]
    options = {"product": "ensemble", "samples": 3, "device": "cpu"} | options
    table = {"views": views, "out": str(out), "bundle": str(bundle.path), "options": options}
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def check_protocol(lines: list[str]) -> dict:
    """Every line is JSON; progress of each stage only grows and ends at n of n; the last line is returned."""
    *progress, last = [json.loads(line) for line in lines]
    stages: dict[str, list[dict]] = {}
    for entry in progress:
        assert set(entry) == {"stage", "i", "n"}
        stages.setdefault(entry["stage"], []).append(entry)
    for name, entries in stages.items():
        assert len({entry["n"] for entry in entries}) == 1, name
        done = [entry["i"] for entry in entries]
        assert done == sorted(done), name
        assert "error" in last or done[-1] == entries[-1]["n"], name
    assert ("result" in last) != ("error" in last and "kind" in last)
    return last


# People


def test_help_shows_examples_and_exit_codes_of_every_command(capsys):
    for arguments in ([], ["project"], ["reconstruct"], ["compare"], ["bundle"]):
        with pytest.raises(SystemExit) as left:
            main([*arguments, "--help"])
        shown = capsys.readouterr().out
        assert left.value.code == 0
        assert "examples:\n  clsdm" in shown
        for code in range(4):
            assert re.search(rf"^  {code}  \w", shown, re.MULTILINE), (arguments, code)
    assert max(map(len, shown.splitlines())) <= 120


def test_the_examples_in_the_help_are_calls_the_parser_takes(capsys):
    from clsdm.app import cli_help

    texts = (cli_help.OVERVIEW, cli_help.PROJECT, cli_help.RECONSTRUCT, cli_help.COMPARE, cli_help.BUNDLE)
    calls = [line.split() for text in texts for line in text.splitlines() if line.startswith("  clsdm ")]
    assert len(calls) >= 10
    for line in [line for text in texts for line in text.splitlines() if line.startswith("  clsdm ")]:
        call = re.split(r"\s{3,}", line.strip())[0].split()
        build_parser().parse_args(call[1:])


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["fly"],
        ["reconstruct", "--colour"],
        ["project", "ct.nii"],
        ["reconstruct", "--steps", "many"],
        ["compare", "r.nii.gz"],
    ],
)
def test_a_wrong_call_is_one_line_and_exits_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as left:
        main(wrong)
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("clsdm")
    assert line.endswith("--help shows the call")


def test_project_reconstruct_compare_and_only_the_last_reads_the_ct(capfd, small_model, tmp_path):
    ct = tmp_path / "ct.nii.gz"
    write_ct(small_phantom(CENTRE_MM), ct)
    isocentre = ["--isocentre", *map(str, CENTRE_MM)]
    code, out, err = run(capfd, "project", ct, "--preset", "x2ct", *isocentre, "--out", tmp_path / "films", "--quiet")
    assert (code, err) == (0, "")
    assert [Path(line).name for line in out.split()] == ["frontal.dcm", "lateral.dcm"]

    command = reconstruct_command(tmp_path / "films", small_model, tmp_path / "a.nii.gz")
    code, out, err = run(capfd, *command)
    assert code == 0
    assert out.splitlines()[0] == str(tmp_path / "a.nii.gz")
    assert "esearch only" in out
    first = (tmp_path / "a.nii.gz").read_bytes()

    code, out, _ = run(capfd, "compare", tmp_path / "a.nii.gz", ct, "--out", tmp_path / "report")
    assert code == 0
    names = ["comparison.png", "metrics.json", "report.html"]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == names
    assert {Path(line).name for line in out.split()} == set(names)
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics["protocols"]) == {"honest", "x2ct"}
    assert metrics["provenance"]["model_sha256"] == small_model.hash
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert metrics["measures"] == record["measures"]
    assert set(metrics["true_measures"]["values"]) | set(metrics["true_measures"]["not_measurable"]) == set(QUANTITIES)
    assert "What was measured" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    code, out, _ = run(capfd, "measure", tmp_path / "a.nii.gz", "--truth", ct, "--fixed", tmp_path / "fixed.nii.gz")
    assert code == 0
    assert sitk.ReadImage(str(tmp_path / "fixed.nii.gz")).GetSize() == (16, 16, 16)
    assert "filled in from other patients" in out
    assert [
        line for line in out.splitlines() if line.startswith(QUANTITIES["water_diameter_mm"].label) and "CT" in line
    ]
    assert NO_TABLE in out
    nobody = small_phantom(CENTRE_MM)
    nobody.hu[:] = nobody.hu * 0.01 - 990.0
    nobody.hu[:, :3, :3] = 0.0
    sitk.WriteImage(nobody.to_sitk(), str(tmp_path / "nobody.nii.gz"))
    code, out, _ = run(capfd, "measure", ct, "--truth", tmp_path / "nobody.nii.gz")
    assert code == 0
    assert re.search("^not measurable in the CT, .+: .*" + re.escape(QUANTITIES["water_diameter_mm"].label), out, re.M)
    assert main(["project", str(tmp_path / "films" / "frontal.dcm"), "--out", str(tmp_path / "no")]) == 2
    assert "found an X-ray in place of a CT (modality DX)" in capfd.readouterr().err

    changed = small_phantom(CENTRE_MM)
    changed.hu[:] = changed.hu[::-1] - 20.0
    write_ct(changed, ct)
    run(capfd, *command)
    assert (tmp_path / "a.nii.gz").read_bytes() == first, "the reconstruction depends on the CT"
    ct.unlink()
    run(capfd, *command)
    assert (tmp_path / "a.nii.gz").read_bytes() == first

    assert run(capfd, "compare", tmp_path / "a.nii.gz", "--fixed", "--out", tmp_path / "blind")[0] == 0
    page = (tmp_path / "blind" / "report.html").read_text(encoding="utf-8")
    assert all(
        text in page
        for text in ("What the X-rays fix: ", "What came from other patients", "filled in from other patients")
    )
    blind = json.loads((tmp_path / "blind" / "metrics.json").read_text(encoding="utf-8"))
    assert blind["protocols"] == {}
    assert len(blind["reprojection"]) == 2


def test_views_can_be_named_with_their_angle_in_any_order(capfd, films, small_model, tmp_path):
    main([*reconstruct_command(films, small_model, tmp_path / "a.nii.gz"), "--quiet"])
    views = ["--view", f"{films / 'lateral.dcm'}:90", "--view", f"{films / 'frontal.dcm'}:0"]
    out = tmp_path / "b.nii.gz"
    code, *_ = run(capfd, "reconstruct", *views, "--bundle", small_model.path, "--device", "cpu", "--out", out)
    assert code == 0
    a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz"))) for name in "ab")
    np.testing.assert_allclose(a, b, atol=1.0)


def test_the_bundles_default_product_is_made_unless_another_is_asked_for(capfd, films, small_model, tmp_path):
    from small_bundle import edited

    bundle = Bundle.open(edited(small_model, tmp_path / "b", default_product="ensemble"))
    command = reconstruct_command(films, bundle, tmp_path / "r.nii.gz", "--json", "--samples", "2")
    made = json.loads(run(capfd, *command)[1].splitlines()[-1])["result"]["provenance"]
    assert (made["product"], made["samples"]) == ("ensemble", 2)
    made = json.loads(run(capfd, *command, "--product", "sample")[1].splitlines()[-1])["result"]["provenance"]
    assert made["product"] == "sample"


def test_bundle_info_and_verify(capfd, small_model):
    code, out, _ = run(capfd, "bundle", "info", small_model.path)
    table = json.loads(out)
    assert code == 0
    assert (table["id"], table["sha256"], table["figures"]) == ("small", small_model.hash, {"psnr_db": {"mean": 0.0}})
    code, out, _ = run(capfd, "bundle", "verify", small_model.path)
    assert (code, out) == (0, f"{small_model.path}: 2 files agree with the manifest\n")


# Programs


@pytest.mark.parametrize("command", ["project", "reconstruct", "compare", "bundle"])
def test_with_json_there_is_nothing_else_on_standard_output(command, capfd, films, small_model, tmp_path):
    out = tmp_path / "r.nii.gz"
    arguments = {
        "project": ["project", str(films / "ct.nii.gz"), "--preset", "x2ct", "--angles", "0", "--out", str(tmp_path)],
        "reconstruct": reconstruct_command(films, small_model, out, "--product", "sample"),
        "compare": ["compare", str(films / "ct.nii.gz"), str(films / "ct.nii.gz"), "--out", str(tmp_path)],
        "bundle": ["bundle", "info", str(small_model.path)],
    }[command]
    code, stdout, stderr = run(capfd, *arguments, "--json")
    assert (code, stderr) == (0, "")
    last = check_protocol(stdout.splitlines())
    assert "result" in last
    for file in last["result"].get("files", {}).values() if command == "reconstruct" else []:
        assert Path(file).is_file()


def test_an_error_is_the_last_json_line_and_one_line_for_people(capfd, films, small_model, tmp_path):
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--json", "--spacing", "-1")
    code, out, err = run(capfd, *command)
    assert code == 2
    last = check_protocol(out.splitlines())
    assert last["kind"] == "input"
    assert err == f"clsdm: {last['error']}\n"
    assert not list(tmp_path.iterdir())


def test_two_processes_write_the_same_bytes_and_speak_json(capfd, films, small_model, tmp_path):
    """As 3D Slicer calls it; the other process is this one."""
    outs = {name: tmp_path / name / "r.nii.gz" for name in ("here", "there", "other")}
    requests = {
        name: request_file(tmp_path / f"{name}.json", films, small_model, out, seed=11 if name == "other" else 4)
        for name, out in outs.items()
    }
    child = process("reconstruct", requests["there"])
    assert run(capfd, "reconstruct", requests["here"])[0] == 0
    assert run(capfd, "reconstruct", requests["other"])[0] == 0
    stdout, stderr = child.communicate(timeout=300)
    assert (child.returncode, stderr) == (0, "")
    last = check_protocol(stdout.splitlines())
    assert {json.loads(line).get("stage") for line in stdout.splitlines()} > {"sample", "decode", "write"}
    assert last["result"]["files"]["volume"] == str(outs["there"])
    for name in ("r.nii.gz", "r_coverage.nii.gz", "r_spread.nii.gz"):
        here, there, other = ((out.parent / name).read_bytes() for out in outs.values())
        assert here == there, name
        assert (here == other) is (name == "r_coverage.nii.gz")


@pytest.mark.skipif(os.name == "nt", reason="there SIGTERM cannot be caught")
def test_terminating_it_exits_with_3_and_leaves_nothing(films, small_model, tmp_path):
    path = request_file(
        tmp_path / "q.json", films, small_model, tmp_path / "new" / "r.nii.gz", samples=1000, steps=1000
    )
    child = process("reconstruct", path)
    lines = []
    for line in child.stdout:
        lines.append(line)
        if json.loads(line)["stage"] == "sample":
            child.send_signal(signal.SIGTERM)
            break
    rest, stderr = child.communicate(timeout=300)
    assert child.returncode == 3, stderr
    last = check_protocol(lines + rest.splitlines())
    assert last == {"error": "cancelled", "kind": "cancelled"}
    assert stderr == "clsdm: cancelled\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="there SIGTERM cannot be caught")
def test_terminating_it_while_it_writes_leaves_nothing(capfd, films, small_model, tmp_path, monkeypatch):
    """The signal comes when the volume is written and its companions are not."""
    from clsdm.app import request

    write = request.write_ct

    def write_and_be_stopped(volume: object, path: Path) -> None:
        write(volume, path)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(request, "write_ct", write_and_be_stopped)
    handler = signal.getsignal(signal.SIGTERM)
    code, _, err = run(capfd, *reconstruct_command(films, small_model, tmp_path / "r.nii.gz"))
    assert (code, err) == (3, "clsdm: cancelled\n")
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is handler, "the caller's own handler must be put back"


def test_it_runs_off_the_main_thread_too(films, small_model, tmp_path):
    codes = []
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--quiet")
    worker = threading.Thread(target=lambda: codes.append(main(command)))
    worker.start()
    worker.join()
    assert codes == [0]
    assert (tmp_path / "r.nii.gz").is_file()


@pytest.mark.parametrize(
    "option",
    [
        ["--seed", "0"],
        ["--samples", "8"],
        ["--device", "auto"],
        ["--preset", "chest"],
        ["--spacing", "0.2"],
        ["--no-invert"],
        ["--lateral-source-axis", "1500"],
        ["--flip", "lateral"],
        ["--out", "other.nii.gz"],
        ["--view", "oblique.dcm:45"],
    ],
    ids=lambda option: option[0],
)
def test_an_option_beside_a_request_file_is_refused_even_where_it_asks_for_the_default(
    option, films, small_model, tmp_path, capsys
):
    path = request_file(tmp_path / "request.json", films, small_model, tmp_path / "r.nii.gz")
    assert main(["reconstruct", str(path), *option]) == 2
    assert f"a request file leaves no room for {option[0].replace('--no-', '--')}" in capsys.readouterr().out
    assert not (tmp_path / "r.nii.gz").exists()
