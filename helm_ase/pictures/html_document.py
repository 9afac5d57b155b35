"""Parts of the HTML reports: style, tables, pictures as text, and the file, which needs nothing from
elsewhere."""

import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.calculator.helm import HELMCalculator
from helm_ase.prediction.verdict import Verdict
from helm_ase.system.atomic_write import whole_file

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; worker-src blob:; font-src data:"
)
"""Content security policy by which the browser loads nothing from elsewhere."""
STYLE = """
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem;
  margin: 2rem auto; padding: 0 1.2rem; color: #1d2430 }
h1 { font-size: 2.1rem; font-weight: 650; margin: 0; line-height: 1.2 }
h2 { font-size: 1.15rem; font-weight: 650; margin: 2.2rem 0 .6rem }
h2.first { margin-top: 0 }
table { border-collapse: collapse; width: 100% }
td, th { padding: .28rem .8rem .28rem 0; text-align: left; border-bottom: 1px solid #eceef2 }
th { font-weight: 500; color: #667085; font-size: .88rem }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0;
  white-space: nowrap }
td.number + td.number, th.number + th.number { padding-left: .8rem }
.columns { display: flex; flex-wrap: wrap; gap: 0 3.5rem; align-items: flex-start }
.columns > div { flex: 1 1 19rem; min-width: 0; overflow-x: auto }
.note { color: #667085; font-size: .88rem; margin: .4rem 0 }
.columns svg { max-width: 100%; max-height: 26rem; height: auto; width: auto }
.wide svg { max-width: 100%; height: auto }
.view { border: 1px solid #eceef2; border-radius: 10px; padding: .4rem; overflow: hidden }
.verdict { border-left: 5px solid; border-radius: 6px; padding: .55rem .9rem; margin: 1.1rem 0 }
.verdict b { text-transform: uppercase; letter-spacing: .06em; font-size: .85rem; margin-right: .6rem }
.trusted { border-color: #2e8b57; background: #f0f8f3 }
.extrapolating { border-color: #d9930d; background: #fdf6e7 }
.refused { border-color: #c0392b; background: #fcefed }
@media (max-width: 40rem) { body { margin: 1rem auto; font-size: 15px } h1 { font-size: 1.7rem }
  h2.first { margin-top: 2.2rem }
  .view .plotly-graph-div { height: calc(100vw + 1rem) !important; max-height: 520px } }
"""


def write_document(path: str | Path, title: str, parts: Sequence[str]) -> None:
    """Write a page of HTML; it appears only when it is complete.

    Parameters
    ----------
    path
        File to write.
    title
        Plain text, for the browser's tab.
    parts
        HTML, section after section.
    """
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)} · helm-ase'
        '</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf8")


def origin(calculator: HELMCalculator, source: str, before: str = "", after: str = "") -> str:
    """Where the numbers come from: file, model and level of theory, with words before and after them."""
    checkpoint = calculator.checkpoint
    level = f"{checkpoint.level.functional.upper()}/{checkpoint.level.basis}"
    model = f"predicted by {checkpoint.name} ({checkpoint.sha256[:12]}) at {level}"
    told = "; ".join(filter(None, [", ".join(filter(None, [before, model])), after]))
    return f"<p class=note>{html.escape(' · '.join(filter(None, [source, told])))}</p>"


def verdict_box(verdict: Verdict) -> str:
    """The verdict as a box in its colour."""
    told = [*verdict.reasons, *filter(None, [verdict.evidence])] or ["like what the model was trained on"]
    return f'<p class="verdict {verdict.trust}"><b>{verdict.trust}</b>{html.escape("; ".join(told))}</p>'


def formula_in_html(formula: str) -> str:
    """A formula with its numbers set low."""
    return "".join(f"<sub>{c}</sub>" if c.isdigit() else html.escape(c) for c in formula)


def columns(*parts: str) -> str:
    """Parts beside one another, below one another where the screen is narrow."""
    return f"<div class=columns>{''.join(f'<div>{part}</div>' for part in parts)}</div>"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table of plain texts; columns after the first hold numbers."""

    def line(cells: tuple[str, ...], tag: str) -> str:
        kinds = ["", *[" class=number"] * (len(cells) - 1)]
        return (
            "<tr>"
            + "".join(f"<{tag}{k}>{html.escape(c)}</{tag}>" for c, k in zip(cells, kinds, strict=True))
            + "</tr>"
        )

    header = line(head, "th") if any(head) else ""
    return f"<table>{header}{''.join(line(row, 'td') for row in rows)}</table>"


def svg(figure: Figure) -> str:
    """A picture as text inside the page."""
    FigureCanvasAgg(figure)
    buffer: Any = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text: str = buffer.getvalue()
    return text[text.index("<svg") :]
