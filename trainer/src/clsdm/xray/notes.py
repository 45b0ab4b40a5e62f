"""Notes on X-rays in the reader's words: what holds for several X-rays is said once, and one line says all of a kind.

A note is a text. One that begins with a kind and a colon ("image: lossy compression") goes into one line with the others of
its kind. No pixels, no torch.
"""

from collections.abc import Iterable, Sequence

from clsdm.errors import Remark, way_out_of

KINDS = ("image", "assumed", "left out")
"""How the file holds the image; what it does not say and was assumed; what of it was not used."""
EIGHT_BITS, LOSSY = "image: 8-bit, fine contrast is lost", "image: lossy compression"
WORTH_SAYING = 0.0005
"""Of an image; less of it left out is no news."""


def left_out(share: float, what: str) -> tuple[str, ...]:
    """The note that a share (0 to 1) of an image was not used, or none where it is too small to matter."""
    return (f"left out: {share:.1%} of the image, {what}",) if share >= WORTH_SAYING else ()


def gathered(notes: Iterable[tuple[str, str]], count: int) -> tuple[str, ...]:
    """Few lines from many notes.

    Args:
        notes: (source, note) of each X-ray.
        count: how many X-rays there are.

    Returns:
        Notes of no kind first, then one line a kind; each names its X-rays, and has the ways out of its notes.
    """
    sources: dict[str, list[str]] = {}
    for source, note in notes:
        sources.setdefault(note, []).append(source)
    of_kind: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}
    ways: dict[str, list[str]] = {kind: [] for kind in KINDS}
    lines = []
    for note, named in sources.items():
        kind, _, what = note.partition(": ")
        if kind in KINDS:
            of_kind[kind].setdefault(_together(named, count), []).append(what)
            ways[kind] += [way_out] if (way_out := way_out_of(note)) else []
        else:
            lines.append(Remark(f"{_together(named, count)}: {note}", way_out_of(note)))
    for kind, parts in of_kind.items():
        if parts:
            line = "; ".join(f"{', '.join(what)} ({named})" for named, what in parts.items())
            lines.append(Remark(f"{kind}: {line}", "; ".join(ways[kind])))
    return tuple(lines)


def _together(named: Sequence[str], count: int) -> str:
    if 1 < count == len(named):
        return "both X-rays" if count == 2 else "all X-rays"
    return ", ".join(named)
