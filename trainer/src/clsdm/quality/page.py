"""The frame of every HTML page of ours, with the notice that nobody must miss. Nothing is fetched from elsewhere."""

from collections.abc import Sequence
from html import escape

from clsdm import NOTICE


def page(title: str, body: Sequence[str], style: str = "", pictures: str = "data:") -> str:
    """The whole document.

    Args:
        title: plain text.
        body: HTML below title and notice.
        style: CSS beside that of all pages.
        pictures: sources that pictures may come from, as its content policy names them.
    """
    head = [f"<h1>{escape(title)}</h1>", f'<p class="notice"><strong>{escape(NOTICE)}</strong><br>{_CAUTION}</p>']
    return _PAGE.format(title=escape(title), style=_STYLE + style, body="\n".join([*head, *body]), pictures=pictures)


_CAUTION = (
    "A few X-rays determine only a small part of a CT volume. Most of the detail in the reconstruction was supplied by "
    "a statistical model of other patients. It must not be used to find, exclude or measure disease."
)

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d22; --paper: #fff; --line: #d5d8de; --soft: #5c6370; --alarm: #8a4b00;
  --alarm-paper: #fff3dc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --paper: #14161a; --line: #383c45; --soft: #a0a7b4;
  --alarm: #ffc46b; --alarm-paper: #33270f; } }
body { margin: 0 auto; max-width: 64rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 1rem; font-size: 1.7rem; } h2 { margin: 2.2rem 0 .4rem; border-bottom: 1px solid var(--line); }
h3 { margin: 1.4rem 0 0; font-size: 1.05rem; } h3 + p { margin: 0 0 .5rem; color: var(--soft); }
.notice, .warning { padding: .8rem 1rem; border-left: .35rem solid var(--alarm); background: var(--alarm-paper); }
.notice strong { color: var(--alarm); font-size: 1.2rem; }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: .6rem; }
figure { margin: 0; } img { display: block; width: 100%; background: #0c0c0e; }
figcaption { color: var(--soft); font-size: .9rem; }
table { width: 100%; margin: 1rem 0; border-collapse: collapse; } caption { padding: .3rem 0; text-align: left; }
th, td { padding: .25rem .5rem; border-top: 1px solid var(--line); text-align: left; font-weight: 400; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; } th { width: 55%; }
@media print { h3, .row { break-inside: avoid; } }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src {pictures}; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""
