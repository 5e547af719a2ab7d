"""What comes from elsewhere is data: not executed, kept in its folder, shown as text."""

import ast
import html.parser
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torture_tools as tools
from torture_tools import many

import ltqlib as ltq
from ltqlib.cli import main
from ltqlib.config import from_profile
from ltqlib.errors import InputError
from ltqlib.evidence import inventory, publish, records, store

ROOT = Path(__file__).parents[2]
CODE = [
    path for folder in ("ltqlib", "book/_ext") for path in sorted((ROOT / folder).rglob("*.py"))
]
# calls that execute what they are given, by the end of their dotted name
EXECUTE = (
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load"),
    *("pickle.loads", "marshal.loads", "shelve.open", "joblib.load", "dill.load", "yaml.load"),
    *("yaml.unsafe_load", "yaml.full_load", "torch.load", "torch.hub.load", "read_pickle"),
    *("jsonpickle.decode", "tar.extractall", "tarfile.extractall", "ZipFile.extractall"),
    *("np.load", "numpy.load", "input", "literal_eval"),
)
MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib", "jsonpickle"}
# ruff's S rules that fire, and why what they say is meant
MEANT = {
    "S101": "assertions are for the type checker and for what cannot be",
    "S603": "git alone is started, with words of the library's own",
    "S607": "git is found as the user finds it",
}


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def executing(path: Path) -> Iterator[str]:
    """Calls and imports in a file that can execute data."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            only_weights = {k.arg for k in node.keywords if getattr(k.value, "value", 0) is True}
            if name == "torch.load" and "weights_only" in only_weights:
                continue  # of a user's own model: tensors and nothing else
            bare = name in EXECUTE
            if bare or any("." in end and f".{name}".endswith(f".{end}") for end in EXECUTE):
                yield f"{path}:{node.lineno}: {name}"
            risky = ("shell", "allow_pickle", "trust_remote_code")
            shell = [keyword for keyword in node.keywords if keyword.arg in risky]
            if any(not isinstance(k.value, ast.Constant) or k.value.value for k in shell):
                yield f"{path}:{node.lineno}: {name} with {shell[0].arg}"
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None) or node.names[0].name
            if module.split(".")[0] in MODULES:
                yield f"{path}:{node.lineno}: imports {module}"


def test_nothing_executes_data(tally):
    with tally("trust", "files of the library: no pickle, eval, exec, shell") as row:
        for path in CODE:
            found = list(executing(path))
            row.check(not found, "clean", "; ".join(found))


def test_security_rules(tally):
    """ruff's S rules (flake8-bandit), but for those that say what is meant."""
    command = [sys.executable, "-m", "ruff", "check", "--select=S", "--output-format=json"]
    command += [f"--ignore={','.join(MEANT)}", "ltqlib", "book/_ext"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    found = json.loads(done.stdout)
    with tally("trust", "ruff's security rules over the library") as row:
        row.saw("clean", len(CODE) - len({problem["filename"] for problem in found}))
        for problem in found:
            row.failed(f"{problem['filename']}:{problem['location']['row']}: {problem['code']}")


def test_the_lock_file(tally):
    """Versions are exact. Whether one is known to be bad is asked where the registry answers."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith(("#", " ", "-"))]
    with tally("trust", "packages of requirements.lock: an exact version each") as row:
        for line in wanted:
            row.check(bool(re.match(r"[\w.\[\]-]+==[\w.+!]+", line)), "exact", line)


# --- records from elsewhere ---

HOSTILE = (
    *(
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "../../../../etc/passwd",
        "/etc",
    ),
    *(
        "\x1b]0;owned\x07",
        "\x1b[2J",
        "a\nb",
        "\r",
        "\u202e",
        "{{ 7*7 }}",
        "javascript:alert(1)",
        "",
    ),
    *("x" * 10_000, None, True, -1, 2**70, 0.5, [], [[]], {}, {"a": {"b": []}}, ["<script>"]),
)


def paths_in(record: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a value of a record can be replaced."""
    if at:
        yield at
    items = record.items() if isinstance(record, dict) else ()
    items = enumerate(record[:2]) if isinstance(record, list) else items
    for key, value in items:
        yield from paths_in(value, (*at, key))


def replaced(record: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A copy of a record with another value at one place; no value at all where it is `gone`."""
    if not at:
        return value
    copy = list(record) if isinstance(record, list) else dict(record)
    if len(at) == 1 and value is GONE:
        del copy[at[0]]
    else:
        copy[at[0]] = replaced(record[at[0]], at[1:], value)
    return copy


GONE = object()


def test_records_from_elsewhere(tally, peaceful, tmp_path, monkeypatch, capsys):
    """Whole, with a right checksum, and made by somebody who means harm."""
    draw = random.Random(9)
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    (digest,) = [path.name for path in (peaceful / "results").iterdir() if path.is_dir()]
    whole = {n: records.read_record(peaceful / "runs" / digest / n) for n in inventory.STAGES}
    places = [(name, at) for name, record in whole.items() for at in paths_in(record)]
    folder = tmp_path / "runs" / digest
    with tally("trust", "records with a right checksum and hostile values") as row:
        for number in range(many(150, 1_500)):
            name, at = places[number % len(places)]
            value = draw.choice([*HOSTILE, GONE])
            for file, record in whole.items():
                records.write_record(folder / file, record)
            changed = replaced(whole[name], at, value)
            records.write_record(folder / name, changed)
            when = 10**18 + 10**9 * number
            for file in whole:
                os.utime(folder / file, ns=(when, when))
            what = f"{name}, {'.'.join(map(str, at))} = {str(value)[:40]!r}"
            judge(row, what, digest, tmp_path, capsys)


def judge(row: tools.Tally, what: str, digest: str, home: Path, capsys: Any) -> None:
    """The commands that read records, and those that publish and read networks."""
    config = from_profile("smoke", imbalance_factor=tools.FACTOR, **tools.FIELDS)
    ends = []
    for command in (["show"], ["show", digest], ["show", digest, "--json"], list(tools.RUN)):
        try:
            code = main([*command])
        except Exception as error:
            capsys.readouterr()
            return row.failed(f"{what}: {command[:2]}: {type(error).__name__}: {error}")
        shown = capsys.readouterr()
        lines = (shown.out + shown.err).splitlines()
        if code not in (0, 2) or not all(line.isprintable() for line in lines):
            return row.failed(f"{what}: {command[:2]}: exit code {code}: {lines!r}")
        if code == 2 and len(shown.err.splitlines()) != 1:
            return row.failed(f"{what}: {command[:2]}: {shown.err!r}")
        ends.append(code)
    outside = {path.name for path in home.iterdir()} - {"runs", "results", "checkpoints"}
    assert config.digest() == digest
    row.check(not outside, "refused" if 2 in ends else "shown as text", f"{what}: wrote {outside}")


def test_names_in_a_registry(tally, peaceful, tmp_path, monkeypatch):
    """A registry says what files are; it makes nobody read or write elsewhere."""
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    names = ("../../../etc/passwd", "/etc/passwd", "a b", "<script>", "\x00", "x/../../y", "~/x")
    with tally("trust", "names in a registry that lead elsewhere") as row:
        for number, name in enumerate(names):
            path = tmp_path / "results" / "registry.txt"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{name} sha256:{'0' * 64}\n")
            os.utime(path, ns=(10**18 + number, 10**18 + number))
            try:
                publish.publish()
            except InputError as error:
                row.check(tools.one_line(str(error)), "nothing done", f"{name!r}: {error}")
            assert (inventory.networks(), store.digests()) == ([], [])
            assert sorted(p.name for p in tmp_path.rglob("*")) in (
                ["registry.txt", "results"], [".lock", "registry.txt", "results", "runs"]
            )  # fmt: skip


# --- names of classes in pages ---

SCRIPT = "<script>alert(1)</script>"
IMAGE = "<img src=x onerror=alert(1)>"


class Live(html.parser.HTMLParser):
    """Finds what a browser would execute because a class has that name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.within = tag
        if tag == "img" and dict(attrs).get("src") == "x":
            self.found.append(self.get_starttag_text() or tag)

    def handle_data(self, data: str) -> None:
        if self.within == "script" and data.strip() == "alert(1)":
            self.found.append(f"<script>{data}")


def test_a_page_of_a_folder_with_a_script(tally, tmp_path, monkeypatch):
    """A class called ``<script>``: trained, evaluated, and every table and figure shown."""
    import numpy as np
    from PIL import Image

    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    draw = np.random.default_rng(0)
    # a name of a folder has no slash: the end tag of a script is not needed to execute one
    names = (SCRIPT.replace("/", "\u2215"), IMAGE, "<script>alert(1)", "'\"><b>", "$\\frac{$", "$")
    for split in ("train", "test"):
        for name in names:
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for number in range(4):
                pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{number}.png")
    data = ltq.load_data("folder:photos", "natural")
    networks = ltq.train(data, profile="smoke", seeds=[0], **tools.FIELDS)
    outcomes = ltq.evaluate(networks, bits=[32, 4])
    with tally("trust", "a folder called <script> in every table and figure") as row:
        for what, shown in shown_of(data, outcomes):
            live = Live()
            live.feed(shown)
            row.check(not live.found, "escaped", f"{what}: {live.found}")


def shown_of(data: Any, outcomes: Any) -> Iterator[tuple[str, str]]:
    """What a notebook shows, as HTML."""
    from ltqlib.paper import plots

    yield "the estimates of classes", ltq.estimate(outcomes["right"], by="class")._repr_html_()
    yield "the outcomes", outcomes._repr_html_()
    frame = ltq.estimate(outcomes["right"], by="class").reset_index()
    yield "a table", frame._repr_html_()
    figure = plots.class_counts(data)
    bundle = figure._repr_mimebundle_() if hasattr(figure, "_repr_mimebundle_") else {}
    yield "a figure", bundle.get("text/html", "") or svg_of(figure)


def svg_of(figure: Any) -> str:
    import io

    buffer = io.StringIO()
    if not hasattr(figure, "savefig"):
        return ""
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()
