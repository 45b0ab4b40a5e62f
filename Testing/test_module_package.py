"""The installed archive holds everything it needs, and the entry for the Extensions Index is one that it accepts."""

import ast
import contextlib
import importlib
import json
import re
import struct
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

import package

ROOT = package.ROOT
MODULE = ROOT / package.NAME
INDEX_KEYS = {  # of Slicer's slicer-extension-catalog-entry-schema-v1.0.2.json, restated: key -> (type, required)
    "$schema": (str, True),
    "category": (str, True),
    "scm_url": (str, True),
    "scm_revision": (str, False),
    "scm_type": (str, False),
    "build_dependencies": (list, False),
    "dicom_support_rule": (str, False),
    "build_subdirectory": (str, False),
    "enabled": (bool, False),
    "tier": (int, False),
}
INDEX_CATEGORY = "Tomographic Reconstruction"  # one of ACCEPTED_EXTENSION_CATEGORIES of the Extensions Index


class CoreTest(unittest.TestCase):
    def test_a_function_that_imports_the_core_says_first_where_it_is(self) -> None:
        """Tests outside Slicer find an installed core anyway; Slicer has none."""
        for path in sorted(MODULE.rglob("*.py")):
            for scope in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(scope, (ast.Module, ast.FunctionDef)):
                    continue
                kinds = [kind for kind in map(_kindOf, scope.body) if kind]
                with self.subTest(f"{path.name}: {getattr(scope, 'name', 'top level')}"):
                    self.assertNotEqual(kinds[:1], ["import"])


def _kindOf(statement: ast.stmt) -> str:
    """An "import" of the core, or the "call" that makes it possible."""
    if isinstance(statement, ast.ImportFrom) and (statement.module or "").split(".")[0] == "clsdm":
        return "import"
    call = getattr(statement, "value", None)
    return "call" if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "ensureCore" else ""


class CMakeTest(unittest.TestCase):
    def test_the_lists_name_every_file_of_the_module_and_nothing_else(self) -> None:
        listed = package.cmake_list("MODULE_PYTHON_SCRIPTS") + package.cmake_list("MODULE_PYTHON_RESOURCES")
        there = {
            path.relative_to(MODULE).as_posix()
            for path in MODULE.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.assertEqual(len(listed), len(set(listed)), "a file is listed twice")
        self.assertEqual(set(listed), there - package.UNLISTED)

    def test_scripts_are_python_and_resources_are_not(self) -> None:
        self.assertEqual({Path(name).suffix for name in package.cmake_list("MODULE_PYTHON_SCRIPTS")}, {".py"})
        self.assertNotIn(".py", {Path(name).suffix for name in package.cmake_list("MODULE_PYTHON_RESOURCES")})

    def test_the_extension_describes_itself_on_one_line_each(self) -> None:
        for name in ("HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
            with self.subTest(name):
                self.assertTrue(package.cmake_text(f"EXTENSION_{name}").strip())

    def test_icon_and_screenshots_are_files_of_this_repository(self) -> None:
        urls = [package.cmake_text("EXTENSION_ICONURL"), *package.cmake_text("EXTENSION_SCREENSHOTURLS").split()]
        for url in urls:
            path = re.fullmatch(r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/main/(.+)", url)
            self.assertIsNotNone(path, url)
            self.assertTrue((ROOT / path[1]).is_file(), url)

    def test_there_is_one_address_of_the_repository_and_every_file_agrees_with_it(self) -> None:
        home = package.cmake_text("EXTENSION_HOMEPAGE")
        owner = home.removeprefix("https://github.com/")
        files = [
            ROOT / "CMakeLists.txt",
            ROOT / "trainer" / "docs" / "slicer.md",
            ROOT / "Resources" / f"{package.NAME}.json",
        ]
        files += [path for path in MODULE.rglob("*") if path.suffix in (".py", ".ui", ".txt")]
        named = {
            path: re.findall(r"(?:github|githubusercontent)\.com/([\w-]+/[\w-]+)", path.read_text("utf-8"))
            for path in files
        }
        for path, found in named.items():
            ours = {name for name in found if not name.lower().startswith("slicer/")}
            self.assertLessEqual(ours, {owner}, path)
        page = ROOT / "trainer" / "docs" / "slicer.md"
        self.assertIn(owner, named[page], "the page says from when on the address is valid")

    def test_no_top_level_package_of_the_module_could_hide_another(self) -> None:
        tops = {name.split("/")[0] for name, _ in package.module_files()}
        self.assertEqual(tops, {f"{package.NAME}.py", f"{package.NAME}Lib", "Resources", "clsdm"})


class IndexEntryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.path = ROOT / "Resources" / f"{package.NAME}.json"
        self.entry = json.loads(self.path.read_text(encoding="utf-8"))

    def test_it_has_the_keys_and_types_of_the_schema_and_no_others(self) -> None:
        self.assertLessEqual(set(self.entry), set(INDEX_KEYS))
        for key, (kind, required) in INDEX_KEYS.items():
            if required or key in self.entry:
                self.assertIsInstance(self.entry[key], kind, key)
        self.assertIn("schema-v1.0.2.json", self.entry["$schema"])
        self.assertIn(self.entry["scm_type"], ("git", "local"))
        self.assertTrue(1 <= self.entry["tier"] <= 5)
        self.assertTrue(
            self.entry["$schema"].startswith("https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/")
        )

    def test_it_passes_the_checks_of_the_index(self) -> None:
        cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
        self.assertEqual(self.path.stem, re.search(r"project\s*\(\s*([^\s)]+)", cmake)[1])
        self.assertFalse(self.path.stem.lower().startswith("slicer"))
        self.assertEqual(self.entry["category"], INDEX_CATEGORY)
        repository = re.fullmatch(r"https://[^/]+/[^/]+/([^/]+)\.git", self.entry["scm_url"])
        self.assertTrue(repository[1].startswith("Slicer"))
        self.assertTrue((ROOT / "LICENSE").is_file())
        self.assertNotIn(b"\r", self.path.read_bytes())

    def test_related_patents_are_named_where_users_look(self) -> None:
        page = (ROOT / "trainer" / "docs" / "slicer.md").read_text(encoding="utf-8")
        for text in (package.cmake_text("EXTENSION_DESCRIPTION"), page):
            for number in ("US 10,709,394", "US 12,023,192", "WO 2011/133606"):
                self.assertIn(number, text)

    def test_it_agrees_with_cmake(self) -> None:
        self.assertEqual(self.entry["build_dependencies"], package.cmake_text("EXTENSION_DEPENDS").split())
        self.assertEqual(self.entry["scm_url"].removesuffix(".git"), package.cmake_text("EXTENSION_HOMEPAGE"))

    def test_the_icon_has_128_by_128_pixels(self) -> None:
        data = (MODULE / "Resources" / "Icons" / f"{package.NAME}.png").read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        self.assertEqual(struct.unpack(">II", data[16:24]), (128, 128))


class ArchiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.folder = Path(cls.scratch.name).resolve()
        cls.archive = package.build("5.12", cls.folder)
        with tarfile.open(cls.archive) as archive:
            cls.names = archive.getnames()
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python before 3.11.4 has none
            archive.extractall(cls.folder / "open", **safe)

    @property
    def scripted(self) -> Path:
        """The folder that Slicer looks for modules in."""
        (top,) = (self.folder / "open").iterdir()
        return top / "lib" / "Slicer-5.12" / "qt-scripted-modules"

    def test_it_has_one_top_folder_with_description_and_modules_where_slicer_looks(self) -> None:
        self.assertEqual(len({name.split("/")[0] for name in self.names}), 1)
        inside = {name.split("/", 1)[1] for name in self.names}
        self.assertIn(f"share/Slicer-5.12/{package.NAME}.s4ext", inside)
        self.assertIn(f"lib/Slicer-5.12/qt-scripted-modules/{package.NAME}.py", inside)
        self.assertEqual(sum(name.endswith(".s4ext") for name in inside), 1)

    def test_the_description_is_one_key_and_value_a_line(self) -> None:
        text = (self.scripted.parents[2] / "share" / "Slicer-5.12" / f"{package.NAME}.s4ext").read_text(
            encoding="utf-8"
        )
        known = dict(line.split(" ", 1) for line in text.splitlines())
        self.assertEqual((known["depends"], known["category"], known["enabled"]), ("PyTorch", INDEX_CATEGORY, "1"))
        self.assertIn("Research only", known["description"])

    def test_the_module_is_imported_from_it_and_finds_its_own_core_and_model(self) -> None:
        with only_from(self.scripted):
            module = importlib.import_module(package.NAME)
            self.assertTrue(hasattr(module, f"{package.NAME}Logic"))
            for name in package.cmake_list("MODULE_PYTHON_SCRIPTS"):
                dotted = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
                self.assertIn(self.scripted, Path(importlib.import_module(dotted).__file__).resolve().parents)
            core = importlib.import_module(f"{package.NAME}Lib.base.CorePath")
            self.assertEqual(core.corePath(), self.scripted)
            core.ensureCore()
            files = importlib.import_module("clsdm.model.bundle_files")
            self.assertIn(self.scripted, Path(files.__file__).resolve().parents)
            found = files.bundle_path()
            self.assertIn(self.scripted, found.parents)
            self.assertTrue((found / "model.safetensors").is_file())

    def test_importing_the_module_does_not_import_torch(self) -> None:
        before = "torch" in sys.modules
        with only_from(self.scripted):
            importlib.import_module(package.NAME)
        self.assertEqual("torch" in sys.modules, before)

    def test_the_same_sources_give_the_same_bytes(self) -> None:
        again = package.build("5.12.3", self.folder / "again")
        self.assertEqual(again.read_bytes(), self.archive.read_bytes())

    def test_each_minor_version_has_its_own_archive(self) -> None:
        with tarfile.open(package.build("5.10", self.folder)) as archive:
            self.assertTrue(all("5.12" not in name for name in archive.getnames()))

    def test_on_macos_it_lies_inside_the_application(self) -> None:
        with tarfile.open(package.build("5.12", self.folder, macos_revision="34045")) as archive:
            inside = archive.getnames()[0].split("/", 1)[1]
        self.assertTrue(inside.startswith(f"Slicer.app/Contents/Extensions-34045/{package.NAME}/share/Slicer-5.12/"))

    def test_a_version_that_is_none_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "5.12"):
            package.build("latest", self.folder)

    def test_nothing_in_it_is_for_developers_only(self) -> None:
        for name in self.names:
            self.assertIsNone(re.search(r"__pycache__|CMakeLists|Testing|tests/|clsdm_trainer", name), name)


@contextlib.contextmanager
def only_from(folder: Path):
    """Imports of the module and its core come from this folder; afterwards everything is as before."""
    ours = re.compile(rf"(clsdm|{package.NAME}(Lib)?)(\.|$)")
    before, path = dict(sys.modules), list(sys.path)
    for name in [name for name in sys.modules if ours.match(name)]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        for name in [name for name in sys.modules if ours.match(name)]:
            del sys.modules[name]
        sys.modules.update({name: module for name, module in before.items() if ours.match(name)})
        sys.path[:] = path
