"""The report: ``report.html``, one file that loads nothing, and ``report.json`` beside it.

The template ``report.md`` is a Jupytext notebook: papermill executes it on the audit's data, and
what its cells show becomes the page. Text from outside (names of classes, paths) is escaped where
it is put in, and the page's own policy lets no script run but the one that sorts tables.
"""

import base64
import hashlib
import html
import json
from pathlib import Path
from typing import Any

import pandas as pd

from ltqlib.deploy import findings, limits
from ltqlib.deploy.audited import Audit
from ltqlib.errors import InputError
from ltqlib.files import write_whole

HERE = Path(__file__).parent
TOP = 50  # confusions of each width that go into the JSON
SORT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") == "descending", at = head.cellIndex;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent;
  const order = (a, b) => a - b || String(a).localeCompare(b, undefined, {numeric: true});
  body.append(...[...body.rows].sort((a, b) => (up ? 1 : -1) * order(key(a), key(b))));
};
"""


def write_report(folder: Path | str) -> Path:
    """``report.html`` and ``report.json`` of the audit in ``folder/data``.

    Raises:
        InputError: there is no audit, or the packages that make the page are missing.
    """
    folder = Path(folder)
    audit = Audit.read(folder / "data")
    write_whole(folder / "report.json", json.dumps(as_json(audit), indent=1).encode())
    write_whole(folder / "report.html", page(execute(folder), audit.about["model"]).encode())
    return folder / "report.html"


def execute(folder: Path) -> Any:
    """The template as a notebook with its outputs, executed by papermill."""
    try:
        import jupytext  # type: ignore[import-untyped]
        import papermill  # type: ignore[import-untyped]
    except ImportError as error:
        raise InputError(
            f"the report needs {error.name}, which is not installed: install ltqlib[book]"
        ) from error
    source, target = (folder / "work" / name for name in ("template.ipynb", "report.ipynb"))
    source.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(jupytext.read(HERE / "report.md"), source)
    given = {"folder": str((folder / "data").resolve())}
    return papermill.execute_notebook(
        source, target, given, kernel_name="python3", progress_bar=False,
        extra_arguments=["--log-level=40"],
    )  # fmt: skip


def page(notebook: Any, model: str) -> str:
    """The HTML page of an executed notebook: its prose, and what its cells show."""
    from jinja2 import Template
    from markdown_it import MarkdownIt

    parts, prose = [], MarkdownIt("commonmark", {"html": False})
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(prose.render(cell.source))
            continue
        for output in cell.get("outputs", []):
            parts.append(output.get("data", {}).get("text/html", ""))
    digest = base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
    template = Template((HERE / "page.html.j2").read_text(encoding="utf-8"))
    title = html.escape(f"Quantization audit: {model}")
    return template.render(parts=parts, script=SORT, script_hash=digest, title=title)


def as_json(audit: Audit) -> dict[str, Any]:
    """Everything in the report, machine readable; losses in points of accuracy."""
    name, repaired = audit.recommended
    return {
        "format": "ltq-audit-1",
        "about": audit.about,
        "recommended": {"configuration": name, "repaired": repaired, "bits": audit.bit_config},
        "limits": _rows(audit.verdicts),
        "broken": broken(audit),
        "widths": _rows(limits.of_widths(audit.outcomes, audit.limits)),
        "best_method": audit.best_method,
        "groups": _rows(audit.groups),
        "classes": {one: _rows(audit.classes(one)) for one in audit.uniform},
        "confusions": {one: _rows(audit.confusions(one).head(TOP)) for one in audit.uniform},
        "flips": {one: _rows(audit.flips(one)) for one in audit.uniform},
        "sensitivity": _rows(audit.sensitivity),
        "candidates": _rows(audit.candidates),
        "others": {name: _rows(findings.of_sides(found)) for name, found in audit.others.items()},
    }


def broken(audit: Audit) -> list[str]:
    """The limits that were given and are broken."""
    given, lights = limits.given(audit.limits), audit.verdicts["light"].to_dict()
    return [str(n) for n, light in lights.items() if light == limits.RED and given[str(n)]]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Plain values; NaN becomes null."""
    plain = pd.DataFrame(table)
    if plain.index.nlevels > 1 or plain.index.name:
        plain = plain.reset_index()
    return json.loads(plain.to_json(orient="records"))
