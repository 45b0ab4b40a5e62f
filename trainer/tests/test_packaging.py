"""What holds the distribution together: light imports, one direction of imports, no pickle, portable scripts."""

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import BALL_HU, BOX_HU, REPOSITORY

from clsdm_trainer.options import missing_package

SOURCES = REPOSITORY / "trainer" / "src"
RUNTIME = ("torch", "numpy", "SimpleITK", "pydicom", "safetensors")
SCRIPTS = [
    REPOSITORY / name
    for name in ("trainer/demo.sh", "trainer/setup.sh", "trainer/lock.sh", "Testing/run.sh", "Testing/lint.sh")
]
TEXT = {".cff", ".json", ".md", ".py", ".sh", ".toml", ".txt", ".yaml", ".yml"}

# Argument 1: JSON list of the top-level modules that may be found on disk.
ONLY_ALLOWED = """
import importlib, importlib.machinery, json, sys

class OnlyAllowed(importlib.machinery.PathFinder):
    allowed = set(json.loads(sys.argv[1])) | sys.stdlib_module_names

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return super().find_spec(fullname, path, target) if fullname.partition(".")[0] in cls.allowed else None

sys.meta_path[:] = [importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter, OnlyAllowed]
"""
IMPORT = """
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
CALL = """
sys.exit(importlib.import_module(sys.argv[2]).main(sys.argv[3:]))
"""


def modules_of(package: str) -> list[str]:
    """Dotted names of every module of a package, found by file name, without importing any."""
    paths = (path.relative_to(SOURCES).with_suffix("") for path in sorted((SOURCES / package).rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def with_dependencies(distributions: tuple[str, ...]) -> set[str]:
    """Normalised names of the distributions and of all they require, extras left out, as installed here."""
    found: set[str] = set()
    waiting = list(distributions)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found.add(name)
        wanted = [Requirement(line) for line in importlib.metadata.requires(name) or []]
        waiting += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def top_level_modules(distributions: set[str]) -> list[str]:
    """The names under which these distributions are imported."""
    installed = importlib.metadata.packages_distributions()
    return [
        module for module, owners in installed.items() if distributions & {canonicalize_name(name) for name in owners}
    ]


def hiding_the_rest(what: str, own: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    """``IMPORT`` or ``CALL`` in a fresh interpreter that finds these packages and the runtime's dependencies only."""
    allowed = [*own, *top_level_modules(with_dependencies(RUNTIME))]
    command = [sys.executable, "-c", ONLY_ALLOWED + what, json.dumps(allowed), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_every_module_of_the_core_imports_with_the_runtime_dependencies_alone():
    names = modules_of("clsdm")
    assert "clsdm.volume.ct" in names
    done = hiding_the_rest(IMPORT, ("clsdm",), *names)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["monai", "rich", "yaml", "clsdm_trainer"])
def test_the_import_check_really_hides_what_the_core_may_not_need(module: str):
    done = hiding_the_rest(IMPORT, ("clsdm",), module)
    assert f"No module named '{module}'" in done.stderr


@pytest.mark.parametrize(
    ("module", "arguments", "extras"),
    [
        ("clsdm_trainer.cli", ["prepare", "--source", "folder:scans", "--out", "store"], "train"),
        ("clsdm_trainer.cli", ["evaluate", "--bundle", "b", "--store", "store", "--out", "out"], "train,bench"),
        ("clsdm_bench.cli", ["benchmark", "--store", "store", "--out", "out"], "train,bench"),
    ],
)
def test_a_command_without_its_extra_says_in_one_line_what_to_install(module: str, arguments: list[str], extras: str):
    done = hiding_the_rest(CALL, ("clsdm", "clsdm_trainer", "clsdm_bench"), module, *arguments)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith(f"; install it with: pip install 'clsdm[{extras}]'")


def test_a_module_of_its_own_that_is_missing_is_a_defect_and_no_package_to_install():
    with pytest.raises(ModuleNotFoundError):
        missing_package(ModuleNotFoundError("no such module", name="clsdm_trainer.gone"), "train")


def imported_names(tree: ast.AST) -> Iterator[str]:
    """Dotted names of everything a module imports, at any depth of nesting."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def parsed(path: Path) -> ast.Module:
    """Syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def unpickling(tree: ast.AST) -> list[str]:
    """Ways in which a module could execute code hidden in a data file, each with its line."""
    unsafe = {"cPickle", "cloudpickle", "dill", "joblib", "pickle", "shelve"}
    found = [f"import {name}" for name in imported_names(tree) if {name.partition(".")[0]} & unsafe]
    found += [f"import {name}" for name in imported_names(tree) if name in ("torch.load", "torch.save")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.keyword) and (node.arg, ast.unparse(node.value)) in (
            ("allow_pickle", "True"),
            ("weights_only", "False"),
        ):
            found.append(f"line {node.lineno}: {node.arg}={ast.unparse(node.value)}")
    return found


def test_no_source_file_reads_or_writes_pickles():
    for path in SOURCES.rglob("*.py"):
        assert not unpickling(parsed(path)), f"{path}: {unpickling(parsed(path))}; use safetensors, JSON or .npy"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from pickle import loads",
        "import torch\nx = torch.load('a.pt')",
        "from torch import load",
        "import numpy as np\nnp.load('a.npy', allow_pickle=True)",
        "fabric.load('a.ckpt', weights_only=False)",
    ],
)
def test_the_pickle_check_sees_each_way_in(source: str):
    assert unpickling(ast.parse(source))


def test_the_pickle_check_lets_plain_arrays_and_safetensors_pass():
    source = "import numpy as np\nfrom safetensors.torch import load_file\nnp.load('a.npy', allow_pickle=False)"
    assert not unpickling(ast.parse(source))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_shell_script_is_valid_for_a_posix_shell(script: Path):
    shell = shutil.which("dash") or "sh"  # dash knows nothing beyond POSIX syntax
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_text_files_end_their_lines_with_lf_only():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("needs a git checkout to know which files belong to the repository")
    paths = [REPOSITORY / name for name in listed.stdout.split("\0") if Path(name).suffix in TEXT]
    assert SCRIPTS[0] in paths
    assert not [path for path in paths if path.is_file() and b"\r" in path.read_bytes()]


def test_a_document_that_is_cited_is_in_the_repository():
    made = {"MODEL_CARD.md", "RESULTS.md", "results.md", "table.md", "numbers.md", "card.md"}  # by programs or tests
    homes = (REPOSITORY, REPOSITORY / "trainer", REPOSITORY / "trainer" / "docs")
    cited = set()
    for folder in ("CLSDMReconstruction", "Testing", "trainer"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in {".py", ".sh", ".yaml", ".toml"} and "site-packages" not in path.parts:
                cited |= {(name, path) for name in re.findall(r"[\w./-]+\.md\b", path.read_text(encoding="utf-8"))}
    assert any(name == "docs/method.md" for name, _ in cited)
    for name, path in sorted(cited):
        known = any((base / name).is_file() for base in (*homes, path.parent))
        assert known or Path(name).name in made, f"{path} cites {name}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spin"], "unknown option --spin"),
        (["--ct"], "--ct: expected a file"),
        (["--frontal", "nowhere.dcm"], "no such file: nowhere.dcm"),
        (["one", "two"], "expected one folder OUT"),
        (["--ct", __file__, "--lateral", __file__], "found both"),
    ],
)
def test_the_demonstration_refuses_a_wrong_command_line_before_it_installs_anything(arguments, message, tmp_path):
    done = subprocess.run(
        ["sh", str(SCRIPTS[0]), *arguments],
        env={"PATH": "/usr/bin:/bin", "CLSDM_VENV": str(tmp_path / "venv")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "venv").exists()


def test_the_phantom_tells_left_from_right_front_from_back_and_head_from_feet(asymmetric_phantom):
    middle = (np.array(asymmetric_phantom.hu.shape) - 1) / 2
    ball = np.argwhere(asymmetric_phantom.hu == BALL_HU).mean(0) - middle
    box = np.argwhere(asymmetric_phantom.hu == BOX_HU).mean(0) - middle
    assert (np.sign(ball) == (1, -1, 1)).all()  # superior, anterior, left in (z, y, x)
    assert (np.sign(box) == (-1, 1, -1)).all()  # inferior, posterior, right
