"""The pages that astroprism writes: one file, no script, nothing loaded from anywhere; their style and parts.

Whatever comes from files, headers or label tables goes through `text`.
"""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light dark; --ink: #1b2a41; --soft: #4a5a70; --rule: #d5dce5; --paper: #fff;
  --panel: #f3f6f9; --accent: #a83e1c; --link: #1d5c99 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f1; --soft: #aab6c6; --rule: #36414f;
  --paper: #12171e; --panel: #1a212b; --accent: #f2a07c; --link: #8dbdf0 } }
@media print { :root { --ink: #000; --soft: #333; --rule: #bbb; --paper: #fff; --panel: #fff; --accent: #802a0f;
  --link: #000 } nav { display: none } details > * { display: block } section, figure, tr { break-inside: avoid-page }
  main { max-width: none } .layout { display: block } }
* { box-sizing: border-box }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100% }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto,
  "Helvetica Neue", "DejaVu Sans", sans-serif }
.layout { display: grid; grid-template-columns: 15rem minmax(0, 1fr); gap: 2.5rem; max-width: 84rem; margin: 0 auto;
  padding: 0 1.5rem }
nav { position: sticky; top: 0; align-self: start; max-height: 100vh; overflow-y: auto; padding: 2rem 0;
  font-size: .875rem }
nav ol { list-style: none; margin: 0; padding: 0 } nav ol ol { padding-left: .9rem } nav li { margin: .3rem 0 }
nav a { text-decoration: none }
nav h2 { font-size: .875rem; margin: 0 0 .6rem; border: 0; padding: 0; color: var(--soft) }
main { padding: 1.5rem 0 5rem; max-width: 60rem }
h1 { font-size: 1.8rem; line-height: 1.2; margin: .5rem 0 }
h2 { font-size: 1.35rem; margin: 3rem 0 .8rem; padding-top: .8rem; border-top: 2px solid var(--ink) }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem } h4 { font-size: 1rem; margin: 1.4rem 0 .3rem }
p, li { max-width: 46rem } a { color: var(--link) } .soft, figcaption, caption { color: var(--soft) }
.lead { font-size: 1.05rem } .note { color: var(--accent) }
.limit { border-left: 3px solid var(--accent); padding: .1rem 0 .1rem .9rem; margin: .8rem 0; max-width: 46rem }
.card { border: 1px solid var(--rule); border-radius: 6px; padding: .2rem 1.2rem 1rem; margin: 1.6rem 0 }
.badge { font-size: .78rem; font-weight: 600; border: 1px solid currentcolor; border-radius: 3px; padding: 0 .4em;
  margin-left: .5em; vertical-align: .1em; white-space: nowrap }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0 1.5rem }
figure { margin: 1.1rem 0 } figcaption { font-size: .875rem; max-width: 46rem; margin-top: .3rem }
.scroll { overflow-x: auto; background: linear-gradient(to right, var(--paper) 40%, transparent) left / 36px 100% no-repeat
  local, linear-gradient(to left, var(--paper) 40%, transparent) right / 36px 100% no-repeat local,
  linear-gradient(to right, var(--rule), transparent) left / 12px 100% no-repeat scroll,
  linear-gradient(to left, var(--rule), transparent) right / 12px 100% no-repeat scroll }
.scroll:focus-visible, a:focus-visible, summary:focus-visible {
  outline: 2px solid var(--link); outline-offset: 2px }
svg { display: block; width: 100%; height: auto } svg * { stroke-linejoin: round; stroke-linecap: butt }
svg.wide, img.wide { min-width: 40rem } svg.half { max-width: 30rem }
svg text { font-family: "DejaVu Sans", Verdana, sans-serif }
img { display: block; max-width: 100%; height: auto; background: #fff }
table { border-collapse: collapse; font-size: .875rem; margin: .6rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; padding-bottom: .3rem }
td, th { padding: .22rem .7rem .22rem 0; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: top;
  white-space: nowrap } td:last-child, th:last-child { padding-right: 0 }
th { font-weight: 600 } th.left, td.left { text-align: left } td.long { white-space: normal; min-width: 14rem;
  text-align: left } thead th { color: var(--soft); font-weight: 600; white-space: normal; vertical-align: bottom }
code { font: .85em/1.4 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere }
pre { background: var(--panel); padding: .7rem 1rem; overflow-x: auto; border-radius: 4px } pre code { overflow-wrap: normal }
summary { cursor: pointer; color: var(--link) } details { margin: .6rem 0 }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .2rem 1.2rem; margin: .6rem 0; max-width: 52rem }
dt { color: var(--soft) } dd { margin: 0; overflow-wrap: anywhere }
@media (max-width: 64rem) { .layout { display: block } nav { position: static; max-height: none; padding: 1rem 0 0;
  border-bottom: 1px solid var(--rule) } nav ol { columns: 2 } nav ol ol { columns: 1 } nav li { break-inside: avoid } }
@media (max-width: 40rem) { body { font-size: 15px } .layout { padding: 0 .9rem } h1 { font-size: 1.45rem }
  .card { padding: 0 .8rem .6rem } dl { grid-template-columns: 1fr } dd { margin-bottom: .4rem } nav ol { columns: 1 } }
"""  # noqa: E501


def text(value: object) -> str:
    """Anything as text of a page: markup in it is shown, not obeyed."""
    return html.escape("".join(one if one.isprintable() or one == "\n" else " " for one in str(value)))


def document(title: str, *, body: str, contents: Sequence[tuple[int, str, str]] = ()) -> str:
    """A page. contents: (level 2 or 3, id, words) of the headings that the table of contents lists."""
    nav = _contents(contents)
    main = f'<main id="top">\n{body}\n</main>'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<div class="layout">\n{nav}\n{main}\n</div>\n</body>\n</html>\n'
    )


def _contents(contents: Sequence[tuple[int, str, str]]) -> str:
    parts, level = ['<nav aria-label="Contents"><h2>Contents</h2>', "<ol>"], 2
    for number, (depth, anchor, words) in enumerate(contents):
        if depth > level:
            parts.append("<ol>")
        elif number:
            parts.append("</li></ol></li>" if depth < level else "</li>")
        parts.append(f'<li><a href="#{text(anchor)}">{text(words)}</a>')
        level = depth
    parts.append(
        "</li></ol></li></ol></nav>" if level > 2 else "</li></ol></nav>" if contents else "</ol></nav>"
    )
    return "".join(parts)


def paragraph(words: str, *, kind: str = "") -> str:
    """Words, which may hold markup of our own, as a paragraph."""
    return f'<p class="{kind}">{words}</p>' if kind else f"<p>{words}</p>"


def items(lines: Iterable[str]) -> str:
    """A list; lines may hold markup of our own."""
    told = "".join(f"<li>{line}</li>" for line in lines)
    return f"<ul>{told}</ul>" if told else ""


def facts(pairs: Mapping[str, object]) -> str:
    """Names and values, as text."""
    told = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in pairs.items())
    return f"<dl>{told}</dl>"


def table(
    columns: Mapping[str, Sequence[object]],
    *,
    caption: str,
    left: Sequence[str] = (),
    long: Sequence[str] = (),
) -> str:
    """A table as text, its first column the heads of its rows. left, long: columns of words, of sentences."""
    names = list(columns)
    if not names or not len(columns[names[0]]):
        return paragraph(f"{text(caption)}: none", kind="soft")
    kinds = dict.fromkeys(long, ' class="long"') | dict.fromkeys((*left, names[0]), ' class="left"')
    head = "".join(
        f'<th scope="col"{kinds.get(name, "").replace("long", "left")}>{text(name)}</th>' for name in names
    )
    rows = []
    for values in zip(*columns.values(), strict=True):
        first = f'<th scope="row" class="left">{cell(values[0])}</th>'
        rest = "".join(
            f"<td{kinds.get(name, '')}>{cell(value)}</td>"
            for name, value in zip(names[1:], values[1:], strict=True)
        )
        rows.append(f"<tr>{first}{rest}</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    inner = f"<table><caption>{text(caption)}</caption>{body}</table>"
    return scroll(inner, label=caption)


def frame_table(frame: pd.DataFrame, *, caption: str) -> str:
    """A data frame as a table."""
    return table({str(name).replace("_", " "): frame[name].tolist() for name in frame}, caption=caption)


def scroll(inner: str, *, label: str) -> str:
    """What may be wider than the page: it scrolls by itself, with the keyboard too."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">{inner}</div>'


def cell(value: Any) -> str:
    """A value of a table."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    return text(f"{value:,}" if isinstance(value, int) else value)


def image(png: bytes | None, *, alt: str) -> str:
    """A PNG in the page."""
    if png is None:
        return ""
    data = base64.b64encode(png).decode()
    inner = f'<img class="wide" alt="{text(alt)}" src="data:image/png;base64,{data}">'
    return f"<figure>{scroll(inner, label=alt)}</figure>"
