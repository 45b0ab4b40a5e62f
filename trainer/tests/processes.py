"""Python in a process of its own, on a disk that is full where that is asked for; and the memory that this process has taken."""

import subprocess
import sys

import pytest

needs_full_disk = pytest.mark.skipif(
    sys.platform == "win32", reason="a disk is made full by a limit that only POSIX has"
)


def python(code: str, *arguments: object, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run code; no file grows beyond so many bytes, which fails with EFBIG as a full disk does with ENOSPC."""
    if largest_file is not None:
        limit = f"({largest_file}, resource.RLIM_INFINITY)"
        code = f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, {limit})\n{code}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def peak_memory_bytes() -> float:
    """The most that this process has held so far."""
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
