"""What the linters leave alone, and what the scripts that run them refuse before they install anything."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

MISSPELT = "te" + "h volume"  # in two parts: this file is checked too
FOLDERS = [line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines() if line.endswith("/")]


STUBS = {  # of what run.sh calls: they say that they were called, and nothing is installed
    "trainer/setup.sh": "clsdm_setup() { echo installed; }",
    "Testing/lint.sh": "echo 'ok      ruff'",
    ".venv/bin/python": '#!/bin/sh\nprintf "%s\\n" "tested in $PWD" "$@"',
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The script that runs everything, with stubs around it and one file of tests on either side."""
    for name, content in STUBS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content + "\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    shutil.copy(REPOSITORY / "Testing" / "run.sh", tmp_path / "Testing")
    for name in ("trainer/tests/files/test_names.py", "Testing/test_panel.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def run(checkout: Path, *arguments: str, here: str = ".") -> subprocess.CompletedProcess[str]:
    """``sh Testing/run.sh``, from a folder of the checkout."""
    script = str(checkout / "Testing" / "run.sh")
    environment = {"PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["sh", script, *arguments], cwd=checkout / here, env=environment, capture_output=True, text=True, check=False
    )


def misspelt(folder: Path) -> list[str]:
    """The files of a folder in which codespell, called as ``Testing/lint.sh`` calls it, finds a misspelling."""
    config = REPOSITORY / "trainer" / "pyproject.toml"
    command = [sys.executable, "-m", "codespell_lib", "--toml", str(config), "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return [line.partition(":")[0] for line in done.stdout.splitlines()]


def written(path: Path) -> Path:
    """A file with a misspelling."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MISSPELT, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", FOLDERS)
def test_what_git_ignores_is_not_spell_checked(name: str, tmp_path: Path) -> None:
    written(tmp_path / name.replace("*", "any") / "deep" / "notes.txt")
    assert not misspelt(tmp_path)


def test_what_the_demonstration_and_the_readme_leave_behind_is_ignored_by_git() -> None:
    assert {"demo", "out", "data", "runs"} <= set(FOLDERS)


def test_a_report_is_not_spell_checked_wherever_it_was_written(tmp_path: Path) -> None:
    written(tmp_path / "report" / "report.html")
    assert not misspelt(tmp_path)


def test_what_belongs_to_the_repository_is_spell_checked(tmp_path: Path) -> None:
    written(tmp_path / "trainer" / "src" / "clsdm_trainer" / "data" / "store.py")
    written(tmp_path / "README.md")
    assert misspelt(tmp_path) == ["./README.md", "./trainer/src/clsdm_trainer/data/store.py"]


@pytest.mark.parametrize(
    ("here", "path", "found"),
    [
        (".", "trainer/tests/files/test_names.py", "trainer/tests/files/test_names.py"),
        (".", "trainer/tests/files/test_names.py::test_a", "trainer/tests/files/test_names.py::test_a"),
        (".", "Testing", "Testing"),
        ("Testing", "test_panel.py", "Testing/test_panel.py"),
        ("trainer", "tests/files", "trainer/tests/files"),
        (".", "tests/files", None),
    ],
)
def test_tests_are_named_as_they_stand_here_or_in_the_trainers_folder(checkout, here, path, found):
    done = run(checkout, "-x", path, here=here)
    assert done.returncode == 0, done.stderr
    assert f"tested in {checkout / 'trainer'}" in done.stdout
    assert (path if found is None else str(checkout / found)) in done.stdout.splitlines()


@pytest.mark.parametrize("path", ["trainer/tests/nowhere", "test_nothing.py", "tests/files/test_nothing.py::test_a"])
def test_tests_that_are_not_there_are_refused_before_anything_is_installed(checkout, path):
    done = run(checkout, path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"run.sh: no such file or folder: {path.partition('::')[0]} (looked for in ")
    assert not done.stdout


@pytest.mark.parametrize(
    "options", [["-k", "trainer"], ["-m", "not slow"], ["--junitxml", "out/none.xml"], ["-n0", "-x"]]
)
def test_options_of_pytest_are_handed_on_as_they_are(checkout, options):
    handed_on = "\n".join(["loadfile", *options, ""])
    assert handed_on in run(checkout, *options).stdout


def test_linters_can_be_left_out(checkout):
    assert "ok      ruff" in run(checkout).stdout
    done = run(checkout, "--no-lint", "-x")
    assert done.returncode == 0
    assert "ruff" not in done.stdout
    assert "--no-lint" not in done.stdout
