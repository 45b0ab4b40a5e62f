"""Builds the archive that Slicer's Extensions Manager takes as "Install from file", without a Slicer build tree.

    python Testing/package.py --slicer 5.12 [--out dist]
    python Testing/package.py --slicer 5.12 --macos-revision 34045     # macOS keeps extensions inside Slicer.app

It holds what CMake would install: the files listed in CLSDMReconstruction/CMakeLists.txt, the runtime core ``clsdm``,
and the embedded models. There is no compiled code, so that one archive per minor version serves Linux and Windows.
The same sources give the same bytes.
"""

import argparse
import gzip
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAME = "CLSDMReconstruction"
UNLISTED = {"CMakeLists.txt"}  # of the module folder: for the build, not for the user


def cmake_list(variable: str, cmake: Path = ROOT / NAME / "CMakeLists.txt") -> list[str]:
    """The entries of ``set(variable …)`` in a CMake file, with the module's name filled in."""
    found = re.search(rf"set\({variable}\s([^)]*)\)", cmake.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{cmake}: holds no set({variable} …)")
    return found[1].replace("${MODULE_NAME}", NAME).split()


def cmake_text(variable: str, cmake: Path = ROOT / "CMakeLists.txt") -> str:
    """The value of ``set(variable "…")`` in a CMake file."""
    found = re.search(rf'set\({variable} "([^"]*)"\)', cmake.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f'{cmake}: holds no set({variable} "…") on one line')
    return found[1]


def module_files() -> Iterator[tuple[str, Path]]:
    """(path below qt-scripted-modules, file) of all that is installed there."""
    for name in cmake_list("MODULE_PYTHON_SCRIPTS") + cmake_list("MODULE_PYTHON_RESOURCES"):
        yield name, ROOT / NAME / name
    for base, pattern in ((ROOT / "trainer" / "src", "clsdm/**/*.py"), (ROOT, "Resources/Models/**/*")):
        for path in sorted(base.glob(pattern)):
            if path.is_file():
                yield path.relative_to(base).as_posix(), path


def description() -> str:
    """The ``.s4ext`` that tells the Extensions Manager what this is."""
    entry = json.loads((ROOT / "Resources" / f"{NAME}.json").read_text(encoding="utf-8"))
    lines = {
        "scm": entry["scm_type"],
        "scmurl": entry["scm_url"],
        "scmrevision": entry["scm_revision"],
        "depends": cmake_text("EXTENSION_DEPENDS"),
        "build_subdirectory": entry["build_subdirectory"],
        "homepage": cmake_text("EXTENSION_HOMEPAGE"),
        "contributors": cmake_text("EXTENSION_CONTRIBUTORS"),
        "category": entry["category"],
        "iconurl": cmake_text("EXTENSION_ICONURL"),
        "status": "Development",
        "tier": entry["tier"],
        "description": cmake_text("EXTENSION_DESCRIPTION"),
        "screenshoturls": cmake_text("EXTENSION_SCREENSHOTURLS"),
        "enabled": int(entry["enabled"]),
        "dicom_support_rule": entry["dicom_support_rule"],
    }
    return "".join(f"{key} {value}\n" for key, value in lines.items())


def contents(slicer: str) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of every file below the archive's top folder."""
    yield f"share/Slicer-{slicer}/{NAME}.s4ext", description().encode("utf-8")
    yield f"share/Slicer-{slicer}/{NAME}/LICENSE", (ROOT / "LICENSE").read_bytes()
    for name, path in module_files():
        yield f"lib/Slicer-{slicer}/qt-scripted-modules/{name}", path.read_bytes()


def build(slicer: str, out: Path, macos_revision: str | None = None) -> Path:
    """Write the archive for a Slicer version such as "5.12"; returns its path.

    Raises:
        ValueError: not a version of the form MAJOR.MINOR (a patch number is dropped).
    """
    version = re.fullmatch(r"(\d+\.\d+)(\.\d+)?", slicer)
    if version is None:
        raise ValueError(f"--slicer: expected a version such as 5.12, got {slicer!r}")
    top = f"{NAME}-Slicer-{version[1]}" + (f"-macos-{macos_revision}" if macos_revision else "")
    inside = f"{top}/Slicer.app/Contents/Extensions-{macos_revision}/{NAME}" if macos_revision else top
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{top}.tar.gz"
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name, data in contents(version[1]):
            member = tarfile.TarInfo(f"{inside}/{name}")
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return path


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Build the 'Install from file' archive of the extension.")
    parser.add_argument("--slicer", required=True, metavar="5.12", help="major and minor version of Slicer")
    parser.add_argument("--macos-revision", metavar="N", help="revision of a macOS Slicer (Help > About), e.g. 34045")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder (default: dist)")
    options = parser.parse_args()
    try:
        path = build(options.slicer, options.out, options.macos_revision)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"package.py: {error}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
