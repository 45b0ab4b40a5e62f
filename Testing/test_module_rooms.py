"""The rooms of the library: which may use which, with no circle, and only what a room offers its neighbours."""

import ast
import importlib
import unittest

import package

LIBRARY = f"{package.NAME}Lib"
FOLDER = package.ROOT / package.NAME / LIBRARY
USES = {
    "base": (),
    "scene": ("base",),
    "xrays": ("base", "scene"),
    "worker": ("base", "scene", "xrays"),
    "install": ("base",),
    "compare": ("base", "scene"),
    "Logic": ("scene", "xrays", "worker", "install"),
    "panel": ("base", "scene", "xrays", "worker", "install", "compare"),
}
"""Each room and those it may use, all of them above it."""


class RoomsTest(unittest.TestCase):
    def test_a_room_uses_only_rooms_named_before_it(self) -> None:
        before: set[str] = set()
        for room, used in USES.items():
            self.assertLessEqual(set(used), before, room)
            before.add(room)

    def test_every_room_is_named(self) -> None:
        folders = {path.parent.name for path in FOLDER.glob("*/*.py")}
        files = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
        self.assertEqual(folders | files, set(USES))

    def test_a_room_uses_no_other_room_than_those_it_may_and_no_more_of_them_than_they_offer(self) -> None:
        for room, imports in _imports().items():
            for where, other, module in imports:
                with self.subTest(f"{where}: {other}.{module}"):
                    self.assertIn(other, USES[room])
                    self.assertIn(module, importlib.import_module(f"{LIBRARY}.{other}").__all__)

    def test_what_a_room_may_use_it_does_use(self) -> None:
        for room, imports in _imports().items():
            self.assertEqual({other for _, other, _ in imports}, set(USES[room]), room)

    def test_a_room_offers_only_modules_that_it_has(self) -> None:
        for room in {path.parent.name for path in FOLDER.glob("*/*.py")}:
            modules = {path.stem for path in (FOLDER / room).glob("*.py")}
            self.assertLessEqual(set(importlib.import_module(f"{LIBRARY}.{room}").__all__), modules, room)


def _imports() -> dict[str, list[tuple[str, str, str]]]:
    """For each room, (file, other room, module of it) of every import of another room."""
    found: dict[str, list[tuple[str, str, str]]] = {room: [] for room in USES}
    for path in sorted(FOLDER.rglob("*.py")):
        room = path.stem if path.parent == FOLDER else path.parent.name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = node.module.split(".") if node.module else []
                assert node.level == 0, f"{path.name}: imports of the library are absolute"
                for alias in node.names:
                    top, other, module = [*names, alias.name, ""][:3] if names[:1] == [LIBRARY] else ("", "", "")
                    if top and other != room:
                        found[room].append((path.name, other, module))
    return found
