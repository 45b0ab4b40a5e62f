"""Memory of tensors on a CPU under Linux, in large pages.

Every tensor of some megabytes is new memory, which the system clears a page of 4 KB at a time when it is first used: half a
million of them for two convolutions of 16 channels at 128³ voxels, forwards and backwards. Where the system is a guest itself,
that can take several times as long as the convolutions. Pages of 2 MB are 512 times fewer. Results are the same to the bit.
"""

import os

_WISH = "THP_MEM_ALLOC_ENABLE"
"""Of torch, which reads it when it first allocates; elsewhere than under Linux it does nothing."""


def ask_for_large_pages() -> None:
    """Have torch ask the system for large pages in this process, unless its user said what they want."""
    os.environ.setdefault(_WISH, "1")
