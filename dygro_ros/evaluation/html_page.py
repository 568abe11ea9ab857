"""A self-contained HTML page in the house's style: nothing is fetched, and it prints well."""

from __future__ import annotations

import html
from collections.abc import Iterable

STYLE = """
:root { --ink: #202124; --soft: #5f646d; --line: #e1e4e8; --good: #2e7d50; --bad: #b23a2e; }
* { box-sizing: border-box; }
body { font: 15px/1.5 "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; color: var(--ink);
  background: #fff; max-width: 1000px; margin: 0 auto; padding: 36px 28px 60px; }
h1 { font-size: 25px; margin: 0 0 2px; }
h2 { font-size: 17px; margin: 38px 0 8px; }
p { margin: 6px 0; max-width: 92ch; }
.soft { color: var(--soft); font-size: 13px; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.headline { display: flex; flex-wrap: wrap; margin: 22px 0 6px; border: 1px solid var(--line);
  border-radius: 6px; }
.headline div { padding: 12px 22px; border-right: 1px solid var(--line); flex: 1 1 0; min-width: 150px; }
.headline div:last-child { border-right: 0; }
.headline b { display: block; font-size: 25px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.headline span { color: var(--soft); font-size: 12.5px; display: block; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--line); }
th { font-size: 12.5px; color: var(--soft); font-weight: 600; vertical-align: bottom; }
th:first-child, td:first-child, th.left, td.left { text-align: left; }
tr.total td { font-weight: 600; border-top: 2px solid #b4b9c1; }
td small { color: var(--soft); font-weight: 400; }
img, svg { max-width: 100%; height: auto; display: block; }
figure { margin: 12px 0; }
pre { background: #f5f6f8; padding: 10px 12px; border-radius: 4px; font-size: 12.5px; white-space: pre-wrap;
  overflow-wrap: anywhere; }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--soft); }
@media print {
  body { padding: 0; font-size: 12px; }
  h2 { break-after: avoid; }
  figure, table { break-inside: avoid; }
}
"""


def text(value: object) -> str:
    """Return a value so that it shows as it is."""
    return html.escape(str(value))


def soft(value: str) -> str:
    """Return a paragraph in small grey letters."""
    return f"<p class='soft'>{text(value)}</p>"


def table(head: str, rows: Iterable[str]) -> str:
    """Return a table.

    Args:
        head: The heading's cells, <th> elements.
        rows: Rows, <tr> elements.
    """
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page.

    Args:
        title: Of the browser's tab.
        parts: HTML elements, in their order.
    """
    return (
        f"<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><title>{text(title)}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
