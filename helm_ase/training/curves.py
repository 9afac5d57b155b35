"""Report of a run: FOLDER/metrics-K.csv for every stage K, curves.png and report.html."""

import base64
import csv
import html
import io
from collections.abc import Sequence
from pathlib import Path

import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from helm_ase.system.atomic_write import whole_file
from helm_ase.training.configuration import without_places
from helm_ase.training.recipe import Recipe

UNITS = {
    "hamiltonian": ("H", "µEh"), "occupied": ("occupied levels", "eV"), "homo": ("HOMO", "eV"),
    "lumo": ("LUMO", "eV"), "gap": ("gap", "eV"), "energy": ("energy", "eV/atom"),
    "forces": ("forces", "eV/Å"),
}  # fmt: skip
"""Validation errors → name and unit on their panels."""
Row = dict[str, float]


def read_log(stage: str | Path) -> list[Row]:
    """Log of a stage, one row for each epoch.

    Every start of the stage has a table of its own.  An epoch may stand in two, if a run was killed between
    the table and the checkpoint; the later one counts.
    """
    epochs: dict[float, Row] = {}
    tables = Path(stage).glob("log/version_*/metrics.csv")
    for path in sorted(tables, key=lambda p: int(p.parent.name.removeprefix("version_"))):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                values = {k: float(v) for k, v in row.items() if k is not None and v not in ("", None)}
                epochs[values["epoch"]] = values
    return [epochs[k] for k in sorted(epochs)]


def read_stages(folder: str | Path) -> list[list[Row]]:
    """Rows of every stage of a run, in order."""
    stages = sorted(int(p.name) for p in Path(folder).iterdir() if p.name.isdigit())
    return [read_log(Path(folder) / str(k)) for k in stages]


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Rows as one CSV file."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, keys)
    writer.writeheader()
    writer.writerows(rows)
    _write(path, text.getvalue().encode())


def write_report(folder: str | Path, recipe: Recipe) -> Path | None:
    """Write tables, picture and page; returns the page, or None if nothing has been logged."""
    stages = [rows for rows in read_stages(folder) if rows]
    if not stages:
        return None
    for k, rows in enumerate(stages):
        write_table(rows, Path(folder) / f"metrics-{k}.csv")
    picture = io.BytesIO()
    draw(stages).savefig(picture, format="png", dpi=110)
    _write(Path(folder) / "curves.png", picture.getvalue())
    page = Path(folder) / "report.html"
    text = yaml.safe_dump(without_places(recipe), sort_keys=False, allow_unicode=True)
    _write(page, _page(Path(folder).name, picture.getvalue(), stages, text).encode())
    return page


def draw(stages: Sequence[Sequence[Row]]) -> Figure:
    """Losses and validation errors against the epoch, stages one after the other."""
    errors = [k for k in UNITS if any(f"val_{k}" in row for rows in stages for row in rows)]
    columns = min(3, 1 + len(errors))
    lines = -(-(1 + len(errors)) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(lines, columns, squeeze=False).flatten())
    start = 0.0
    for number, rows in enumerate(stages):
        for panel, key, label in _series(panels, errors):
            points = [(start + row["epoch"] + 1, row[key]) for row in rows if key in row]
            if points:
                style = "--" if key == "val_loss" else "-"
                name = f"{label}, stage {number}" if label else None
                panel.plot(*zip(*points, strict=True), color=f"C{number}", ls=style, label=name)
        start += rows[-1]["epoch"] + 1
    panels[0].set(title="loss", xlabel="epoch", yscale="log")
    panels[0].legend(fontsize=7)
    for panel, key in zip(panels[1:], errors, strict=False):
        name, unit = UNITS[key]
        panel.set(title=f"{name}, validation", xlabel="epoch", ylabel=unit, yscale="log")
    for panel in panels[1 + len(errors) :]:
        panel.set_axis_off()
    return figure


def _series(panels: Sequence[Axes], errors: Sequence[str]) -> list[tuple[Axes, str, str]]:
    series: list[tuple[Axes, str, str]] = [
        (panels[0], "train_loss", "training"), (panels[0], "val_loss", "validation")
    ]  # fmt: skip
    return series + [(panel, f"val_{key}", "") for panel, key in zip(panels[1:], errors, strict=False)]


def best_row(rows: Sequence[Row]) -> Row:
    """The validation with the lowest loss; the last row if there was none."""
    judged = [row for row in rows if "val_loss" in row]
    return min(judged, key=lambda row: row["val_loss"]) if judged else rows[-1]


def _page(title: str, picture: bytes, stages: Sequence[Sequence[Row]], recipe: str) -> str:
    best = [best_row(rows) for rows in stages]
    keys = list(dict.fromkeys(k for row in best for k in row))
    head = "<th></th>" + "".join(f"<th>stage {k}</th>" for k in range(len(best)))
    body = "".join(f"<tr><th>{html.escape(_named(key))}</th>{_cells(best, key)}</tr>" for key in keys)
    image = base64.b64encode(picture).decode()
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{html.escape(title)}</title>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;"
        "color:#222}table{border-collapse:collapse}td,th{padding:.15rem .9rem .15rem 0;text-align:right;"
        "font-variant-numeric:tabular-nums;font-weight:normal}tr>:first-child{text-align:left}"
        "tr{border-bottom:1px solid #eee}pre{background:#f6f6f6;padding:1em;white-space:pre-wrap;"
        "overflow-wrap:anywhere;font-size:13px}img{max-width:100%}div{overflow-x:auto}</style>"
        f"<h1>{html.escape(title)}</h1><img alt='curves' src='data:image/png;base64,{image}'>"
        f"<h2>Best validation of each stage</h2><div><table><tr>{head}</tr>{body}</table></div>"
        f"<h2>Recipe</h2><pre>{html.escape(recipe)}</pre>"
    )


def _named(key: str) -> str:
    """Name and unit of a logged quantity; if it has no unit, its key in words."""
    if (quantity := key.removeprefix("val_")) in UNITS and key != quantity:
        name, unit = UNITS[quantity]
        return f"{name} / {unit}, validation"
    return key.replace("_", " ")


def _cells(rows: Sequence[Row], key: str) -> str:
    return "".join(f"<td>{row[key]:.5g}</td>" if key in row else "<td></td>" for row in rows)


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as partial:
        partial.write_bytes(content)
