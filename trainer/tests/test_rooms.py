"""The plan of the house: which room may use which, with no circle, and only what a room offers its neighbours."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import REPOSITORY

SOURCES = REPOSITORY / "trainer" / "src"
PACKAGES = {"clsdm": (), "clsdm_trainer": ("clsdm",), "clsdm_bench": ("clsdm", "clsdm_trainer")}
"""Each package and those it may use."""
CORE = {
    "errors": (),
    "progress": (),
    "memory": (),
    "failures": ("errors",),
    "limits": ("errors",),
    "plausible": ("errors",),
    "options": ("errors",),
    "files": ("errors", "limits"),
    "geometry": ("errors",),
    "volume": ("errors", "limits", "plausible", "files", "geometry"),
    "xray": ("errors", "limits", "plausible", "files", "geometry", "volume"),
    "model": ("errors", "limits", "plausible", "files", "geometry", "volume"),
    "quality": ("errors", "files", "geometry", "volume", "xray"),
    "refine": ("errors", "progress", "geometry", "volume", "xray", "model", "quality"),
    "hanging": ("errors", "progress", "geometry", "xray", "model", "quality", "refine"),
    "result": ("geometry", "volume", "quality", "hanging"),
    "samples": ("options", "progress", "volume", "model", "quality"),
    "reconstruction": ("errors", "options", "progress", "geometry", "volume", "xray", "model", "quality", "refine",
                       "hanging", "result", "samples"),
    "simulate": ("errors", "limits", "plausible", "files", "geometry", "volume", "xray"),
    "pacs": ("errors", "limits", "files"),
    "engines": ("errors", "limits", "files", "geometry", "xray", "model"),
    "app": ("errors", "progress", "memory", "failures", "limits", "options", "files", "geometry", "volume", "xray", "model",
            "quality", "result", "reconstruction", "simulate", "pacs", "engines"),
    "__main__": ("app",),
}  # fmt: skip
"""Each room or file of ``clsdm`` and those it may use, all of them above it; every one may use the package's own names."""
ROOMS = sorted(path.parent for path in SOURCES.rglob("__init__.py"))


def dotted(path: Path) -> str:
    """The name of a module."""
    return ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")


MODULES = {dotted(path): path for path in sorted(SOURCES.rglob("*.py"))}


def imports_of(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """Modules of ours that a file imports; ``at_once`` leaves out those that it imports late, or for types only."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else str(node.module) for name in names)


def test_every_import_names_its_module_in_full():
    for path in MODULES.values():
        relative = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                    if isinstance(node, ast.ImportFrom) and node.level]  # fmt: skip
        assert not relative, path


def test_packages_import_one_way():
    for name, path in MODULES.items():
        package = name.partition(".")[0]
        used = {other.partition(".")[0] for other in imports_of(path)} - {package}
        assert used <= set(PACKAGES[package]), path


def test_a_room_of_the_core_uses_only_rooms_named_before_it():
    before: set[str] = set()
    for room, used in CORE.items():
        assert set(used) <= before, room
        before.add(room)


def test_every_room_of_the_core_is_named():
    found = {name.split(".")[1] for name in MODULES if name.startswith("clsdm.")}
    assert found == set(CORE)


@pytest.mark.parametrize("room", CORE)
def test_a_room_of_the_core_uses_those_it_may_and_no_other(room: str):
    used = set()
    for name, path in MODULES.items():
        if name.split(".")[:2] == ["clsdm", room]:
            used |= {other.split(".")[1] for other in imports_of(path) if other.startswith("clsdm.")} - {room}
    assert used == set(CORE[room])


@pytest.mark.parametrize("client", [SOURCES, REPOSITORY / "CLSDMReconstruction"], ids=lambda path: path.name)
def test_neighbours_use_of_a_room_what_it_offers(client: Path):
    offered = {
        room: importlib.import_module(f"clsdm.{room}").__all__ for room in CORE if (SOURCES / "clsdm" / room).is_dir()
    }
    for path in client.rglob("*.py"):
        for other in imports_of(path):
            package, _, rest = other.partition(".")
            room, _, module = rest.partition(".")
            if package == "clsdm" and module and path.parent != SOURCES / "clsdm" / room:
                assert module in offered[room], f"{path} imports {other}"


@pytest.mark.parametrize("room", ROOMS, ids=dotted)
def test_a_room_says_in_two_sentences_or_more_what_lives_there(room: Path):
    text = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert len(re.findall(r"[.:](?=\s|$)", text)) >= 2, text


def test_what_a_room_offers_is_there():
    for room in ROOMS:
        module = importlib.import_module(dotted(room))
        for name in getattr(module, "__all__", ()):
            assert f"{dotted(room)}.{name}" in MODULES or hasattr(module, name), f"{room}: {name}"


def test_no_file_imports_itself_on_a_way_round():
    graph = {name: set(imports_of(path, at_once=True)) - {name} for name, path in MODULES.items()}
    for package in [name for name, path in MODULES.items() if path.name == "__init__.py"]:
        for used in graph.values():  # the import of a module imports its package, which here holds names or re-exports
            used.discard(package)
    while free := {name for name, used in graph.items() if not used}:
        graph = {name: used - free for name, used in graph.items() if name not in free}
    assert not graph
