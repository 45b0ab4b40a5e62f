"""The lock files name everything that pyproject.toml asks for, with hashes, and what has another hash is not installed."""

import ast
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from places import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # the linters bring it there

TRAINER = REPOSITORY / "trainer"
LOCKS = {"cli": ("cli",), "test": ("train", "bench", "test")}
FROM_ELSEWHERE = {"torch"}


def locked(name: str) -> dict[str, list[tuple[Requirement, list[str]]]]:
    """What a lock file names: each package with the versions for the various Pythons, and the hashes of each."""
    found: dict[str, list[tuple[Requirement, list[str]]]] = {}
    text = (TRAINER / "locks" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        requirement = Requirement(line.partition(" --hash")[0])
        found.setdefault(canonicalize_name(requirement.name), []).append(
            (requirement, re.findall(r"--hash=sha256:([0-9a-f]{64})(?![0-9a-f])", line))
        )
    return found


def wanted(extras: tuple[str, ...]) -> list[Requirement]:
    project = tomllib.loads((TRAINER / "pyproject.toml").read_text(encoding="utf-8"))
    optional = project["project"]["optional-dependencies"]
    lines = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    return [Requirement(line) for line in lines + [line for extra in extras for line in optional[extra]]]


@pytest.mark.parametrize("name", [*LOCKS, "cuda", "uv"])
def test_every_package_of_a_lock_has_one_version_and_its_hashes(name: str) -> None:
    for package in (entry for entries in locked(name).values() for entry in entries):
        assert [each.operator for each in package[0].specifier] == ["=="], package
        assert package[1], package


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_holds_what_the_project_asks_for_in_versions_that_it_allows(name: str) -> None:
    there = locked(name)
    assert not FROM_ELSEWHERE & set(there), "torch comes from elsewhere"
    for requirement in wanted(LOCKS[name]):
        if requirement.name in FROM_ELSEWHERE or requirement.name.startswith("clsdm"):
            continue
        entries = there.get(canonicalize_name(requirement.name), [])
        assert entries, f"{requirement} is not in locks/{name}.txt; renew it with trainer/lock.sh"
        for entry, _ in entries:
            version = Version(next(iter(entry.specifier)).version)
            assert requirement.specifier.contains(version), f"{entry}: renew locks/{name}.txt with trainer/lock.sh"


IMPORTED_AS = {"pyyaml": "yaml", "pillow": "PIL", "scikit-learn": "sklearn", "scikit-image": "skimage"}
USED_UNSEEN = {"tensorboard", "pylibjpeg", "pylibjpeg-libjpeg", "pylibjpeg-openjpeg", "clsdm"}
"""Used through torch and pydicom, or the project itself."""


def imported(path: Path) -> set[str]:
    """Packages that a file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in names}


def test_a_dependency_or_an_extra_for_users_names_all_that_the_product_imports() -> None:
    found = set().union(*map(imported, (TRAINER / "src").rglob("*.py"))) - set(sys.stdlib_module_names)
    names = {each.name.lower() for each in wanted(("cli", "train", "bench", "dicom", "pacs", "onnx"))}
    known = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    assert {name.lower() for name in found if not name.startswith("clsdm")} - {name.lower() for name in known} == set()


@pytest.mark.parametrize("extra", ["cli", "train", "dicom", "pacs", "onnx"])
def test_the_product_imports_what_an_extra_of_it_names(extra: str) -> None:
    source = "\n".join(path.read_text(encoding="utf-8") for path in (TRAINER / "src").rglob("*.py"))
    project = tomllib.loads((TRAINER / "pyproject.toml").read_text(encoding="utf-8"))
    named = {Requirement(line).name for line in project["project"]["optional-dependencies"][extra]} - USED_UNSEEN
    unused = [
        name
        for name in named
        if not re.search(rf"(import|from) {IMPORTED_AS.get(name, name.replace('-', '_'))}\b", source)
    ]
    assert unused == []


def test_everything_that_the_runtime_and_the_trainer_need_has_a_lower_and_an_upper_bound() -> None:
    no_promise = {"pillow", "tifffile"}  # a new major version or a date every few months
    for requirement in wanted(("train", "bench")):
        operators = {each.operator for each in requirement.specifier}
        assert ">=" in operators, requirement
        assert "<" in operators or requirement.name in no_promise | {"hatchling"}, requirement


def test_torch_is_locked_for_a_gpu_in_the_version_that_the_setup_installs() -> None:
    setup = (TRAINER / "setup.sh").read_text(encoding="utf-8")
    (torch,) = locked("cuda")["torch"]
    assert f"clsdm_torch='{torch[0]}'" in setup


def small_wheel(folder: Path) -> Path:
    """A package with nothing in it."""
    path = folder / "clsdm_nothing-1.0-py3-none-any.whl"
    info = "clsdm_nothing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: clsdm-nothing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_file_of_another_hash_is_not_installed(tmp_path: Path) -> None:
    right = hashlib.sha256(small_wheel(tmp_path).read_bytes()).hexdigest()
    for digest, code in ((right, 0), ("0" * 64, 1)):
        (tmp_path / "lock.txt").write_text(f"clsdm-nothing==1.0 --hash=sha256:{digest}\n", encoding="utf-8")
        script = f'trainer="{TRAINER}"; . "$trainer/setup.sh"; clsdm_install_locked "{sys.executable}" lock.txt'
        environment = {
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(tmp_path),
            "PIP_DRY_RUN": "1",
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            ["sh", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert bool(done.returncode) == bool(code), done.stderr
        assert ("DO NOT MATCH" in done.stderr) == bool(code)
