"""The programs ask for large pages."""

import subprocess
import sys
from pathlib import Path

import pytest

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")
STEPS = """
import contextlib, resource
{first}
import torch
torch.ones(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    tensor = torch.ones(16 << 20)
    del tensor
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PROGRAM = """
from {module} import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
    main(["--help"])
"""


def faults(first: str) -> int:
    """Pages that this process waited for in four tensors of 64 MB."""
    code = STEPS.format(first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


@pytest.mark.skipif(
    not SWITCH.exists() or "[never]" in SWITCH.read_text("ascii"), reason="the system gives no large pages"
)
def test_the_tensors_of_each_program_lie_in_large_pages(monkeypatch):
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    small = faults("")
    for module in ("clsdm.app.cli", "clsdm_trainer.cli", "clsdm_bench.cli"):
        assert faults(PROGRAM.format(module=module)) < small / 10, module
