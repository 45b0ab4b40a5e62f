"""What the linters leave alone, and what the scripts that run them refuse before they install anything."""

import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

MISSPELT = "te" + "h volume"  # in two parts: this file is checked too
FOLDERS = [line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines() if line.endswith("/")]


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
