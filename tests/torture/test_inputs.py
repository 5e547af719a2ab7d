"""Generated inputs: one clear line and nothing written, or a result that makes sense."""

import contextlib
import io
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupytext
import pytest
import torture_tools as tools
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torture_tools import many

import ltqlib as ltq
from ltqlib.cli import build_parser, main
from ltqlib.config import RunConfig, from_dict
from ltqlib.errors import InputError

ROOT = Path(__file__).parents[2]
LONGEST = 10.0  # seconds of the processor
NASTY = (
    *("", " ", "-", "--", "-1", "0", "1", "nan", "inf", "-inf", "1e400", "0x10", "1_0", "true"),
    *("None", "null", "[]", "{}", "9" * 5_000, "0." + "0" * 400 + "1", "\u0661", "\u00bd", "1,2"),
    *("0,1,2,3,4,5,6,7,8,9", "9,8,7,6,5,4,3,2,1,0", "label", "reversed", "random-1", "natural"),
    *("smoke", "laptop", "digits", "cifar10", "folder:", "folder:/dev/zero", "folder:/proc/self"),
    *("folder:~nobody-here", "folder:a\0b", "folder:\n", "folder:" + "x/" * 3_000, "../../etc"),
    *("'; rm -rf /; '", "$(id)", "<script>alert(1)</script>", "\x1b[31mred", "\u202eabc", "\ud800"),
    *("a\nb", "a\rb", "%s%n", "{0.__class__}", "@/etc/passwd", "\N{DUCK}", "crt", "0.1", "0.5"),
)


class Accepted(Exception):
    """An input was found good, and work would begin."""


def generated(count: int) -> Callable[..., Any]:
    """So many examples, the same everywhere, without a database and without a deadline."""
    return settings(
        max_examples=count, database=None, derandomize=True, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@contextlib.contextmanager
def soon(row: tools.Tally, what: str) -> Iterator[None]:
    """What is done inside fails the row if it takes long, or ends in anything but an answer."""
    started = time.process_time()
    try:
        yield
    except (Accepted, InputError) as error:
        kind = "accepted" if isinstance(error, Accepted) else "refused in one line"
        right = isinstance(error, Accepted) or tools.one_line(str(error))
        row.check(right, kind, f"{what}: not one line: {error}")
    except Exception as error:
        row.failed(f"{what}: {type(error).__name__}: {error}")
    else:
        row.saw("a result")
    if (seconds := time.process_time() - started) > LONGEST:
        row.failed(f"{what}: {seconds:.0f} s")


# --- the command line ---


def options() -> dict[str, list[str]]:
    """The options of every command, as its parser has them."""
    commands = next(a for a in build_parser()._actions if hasattr(a, "choices") and a.choices)
    return {
        name: sorted(option for action in parser._actions for option in action.option_strings)
        for name, parser in dict(commands.choices).items()
    }


FITS = (
    *(("--profile", "smoke"), ("--profile", "resnet"), ("--imbalance-factor", "0.1"), ("--json",)),
    *(("--imbalance-factor", "natural"), ("--seed", "7"), ("--epochs", "3"), ("--mixup", "0.5")),
    *(("--class-order", "random-1"), ("--until", "train"), ("--device", "cpu"), ("--threads", "1")),
    *(("--arch", "resnet32"), ("--loss", "ldam-drw"), ("--sam", "0.1"), ("--weights",)),
)


def command_lines() -> st.SearchStrategy[list[str]]:
    """A command, or something like it; options with values that fit, or not; stray words."""
    value = st.sampled_from(NASTY) | st.text(max_size=8) | st.floats().map(repr)
    value |= st.integers().map(str)

    def of(command: str) -> st.SearchStrategy[list[str]]:
        fits = st.sampled_from([pair for pair in FITS if pair[0] in options()[command]] or [("",)])
        option = st.sampled_from(options()[command]) | st.text(max_size=8).map("--".__add__)
        pair = st.tuples(option, value).map(lambda told: [f"{told[0]}={told[1]}"])
        pair |= st.tuples(option, value).map(list) | option.map(lambda name: [name])
        pair |= value.map(lambda word: [word])
        parts = st.tuples(st.lists(fits, max_size=5), st.lists(pair, max_size=2))
        return parts.map(lambda told: [command, *itertools.chain(*told[0], *told[1])])

    names = [name for name in options() if name != "audit"]
    anything = st.lists(value, max_size=4)
    return st.sampled_from(["run", *names]).flatmap(of) | anything


def test_command_lines(tally, tmp_path, monkeypatch):
    from ltqlib import experiment

    def accept(*_: Any, **__: Any) -> None:
        raise Accepted

    monkeypatch.setattr(experiment, "train", accept)
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    with tally("inputs", "generated command lines") as row:

        @generated(many(150, 1_000))
        @given(command_lines())
        def one(arguments: list[str]) -> None:
            out, err, code = io.StringIO(), io.StringIO(), None
            with soon(trial := tools.Tally("", ""), repr(arguments)):
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    try:
                        code = main(arguments)
                    except SystemExit as stop:  # --help, --version
                        code = stop.code
                        assert (code, bool(out.getvalue())) == (0, True)
                    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
                if code == 0:
                    return
                line = err.getvalue()
                assert (code, tools.one_line(line), line[:5]) == (2, True, "ltq: "), line
                assert not out.getvalue(), out.getvalue()
                raise InputError("refused")
            assert not [path for path in tmp_path.rglob("*") if path.name != ".lock"]
            row.tried += trial.tried
            row.failures += trial.failures
            row.found += trial.found

        one()


# --- configurations ---

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
    | st.sampled_from(NASTY) | st.binary(max_size=4) | st.complex_numbers()
)  # fmt: skip
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.dictionaries(st.text(), SCALARS, max_size=2)
GOOD: dict[str, st.SearchStrategy[Any]] = {
    "imbalance_factor": st.floats(1e-3, 1) | st.just("natural"),
    "seed": st.integers(0, 9),
    "epochs": st.integers(0, 300),
    "class_order": st.permutations(range(4)),
    "lr": st.floats(1e-6, 1),
}


def configurations() -> st.SearchStrategy[dict[str, Any]]:
    """Fields of a configuration, up to three of them with any value."""
    names = st.sampled_from(sorted(RunConfig("smoke", "digits").public())) | st.text(max_size=5)
    changes = st.dictionaries(names, VALUES, max_size=2)
    sensible = st.fixed_dictionaries({}, optional=GOOD)
    return st.builds(
        lambda good, bad: {"profile": "smoke", "data": "digits", **good, **bad}, sensible, changes
    )


def test_configurations(tally):
    with tally("inputs", "generated configurations") as row:

        @generated(many(200, 1_000))
        @given(configurations())
        def one(fields: dict[str, Any]) -> None:
            with soon(row, repr(fields)):
                config = from_dict(fields)
                text = json.dumps(config.public(), allow_nan=False)
                again = from_dict(json.loads(text))
                assert again == config, "it is another one after a record held it"
                assert again.digest() == config.digest(), "its digest is not that of its record"
                assert config.label().isprintable()
                raise Accepted

        one()


# --- the parameters of the pages ---

PAGES = ("factor", "quantized", "training")
PARAMETERS: dict[str, tuple[Any, ...]] = {
    "source": ("mnist", None, 3, "folder:nowhere", "<script>", ["digits"], "digits\n", b"digits"),
    "profile": ("tablet", None, "", 0, ["smoke"], "smoke "),
    "imbalance_factor": (0, -1, 100, "0.1", None, float("nan"), [0.1], "Natural", 1e-9),
    "arch": ("vgg99", 16, ["vgg16"], "../vgg16"),
    "seeds": ([-1], ["0"], [0.5], "0", [None], [2**70], [[0]]),
}


def cells(page: str) -> Iterator[tuple[bool, str]]:
    """The code of a page, and whether it is the cell of the parameters."""
    for cell in jupytext.read(ROOT / "book" / f"{page}.md").cells:
        if cell.cell_type == "code":
            yield "parameters" in cell.metadata.get("tags", []), cell.source


def read_page(page: str, told: dict[str, Any]) -> None:
    """Execute a page's cells, as papermill does, until one refuses or would train."""
    there: dict[str, Any] = {}
    for is_parameters, source in cells(page):
        exec(compile(source, f"{page}.md", "exec"), there)
        if is_parameters:
            there.update(told)


def test_parameters_of_the_pages(tally, tmp_path, monkeypatch):
    def accept(*_: Any, **__: Any) -> None:
        raise Accepted

    from ltqlib.experiment import networks

    monkeypatch.setattr(networks, "_train", accept)
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    good = {"source": "digits", "profile": "smoke"}
    cases = [(name, value) for name, values in PARAMETERS.items() for value in values]
    pages = {page: "".join(s for at, s in cells(page) if at) for page in PAGES[: many(1, 3)]}
    with tally("inputs", "parameters of the book's pages that make no sense") as row:
        for page, told in pages.items():
            for name, value in cases:
                if f"{name} = " not in told:
                    continue
                with soon(row, f"{page}.md, {name} = {value!r}"):
                    read_page(page, {**good, name: value})
                    raise AssertionError("a page was shown")
    assert row.found["accepted"] == 0, "what makes no sense was accepted"


# --- public functions ---


@pytest.fixture
def networks(peaceful, tmp_path, monkeypatch) -> Any:
    """In a store of its own: other parts of the suite compare theirs with the peaceful one."""
    shutil.copytree(peaceful, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("LTQ_HOME", str(tmp_path))
    data = ltq.load_data("digits", tools.FACTOR)
    return ltq.train(data, profile="smoke", seeds=[0], **tools.FIELDS)


def spoiled(whole: Any) -> Iterator[tuple[str, Any]]:
    """Outcomes, or losses of layers, with something wrong in them."""
    import numpy as np

    image = whole.sizes["image"]
    yield "no images", whole.isel(image=slice(0))
    yield "one image", whole.isel(image=[0])
    yield "fewer images than classes", whole.isel(image=slice(0, 3))
    yield "one class alone", whole.isel(image=np.flatnonzero(whole["label"] == 0))
    for name in ("label", "group", "half"):
        yield f"no {name}", whole.drop_vars(name)
    yield "another dimension", whole.rename(image="picture")
    yield "one group", whole.assign_coords(group=("image", np.full(image, "head")))
    yield "one half", whole.assign_coords(half=("image", np.full(image, "select")))
    yield "a label for each image", whole.assign_coords(label=("image", np.arange(image)))
    yield "labels below zero", whole.assign_coords(label=("image", np.full(image, -1)))
    names = [n for n in ("right", "margin", "logits") if n in getattr(whole, "data_vars", ())]
    for what, value in (("NaN", np.nan), ("infinite", np.inf), ("constant", 0.0)):
        if names:
            yield what, whole.assign({name: whole[name] * 0.0 + value for name in names})
        else:
            yield what, whole * 0.0 + value
    yield "words", whole.astype(str)
    yield "not labelled at all", whole.to_array().values if names else whole.values


def calls(networks: Any) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Public functions with what they should refuse, or bear."""
    import numpy as np

    from ltqlib import statistics

    outcomes = ltq.evaluate(networks, bits=[32, 4])
    alone = ltq.sensitivity(networks, bits=[6, 4])
    logits = ltq.logits(networks, bits=[32, 4])
    functions: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("estimate", outcomes["right"], ltq.estimate),
        ("estimate by class", outcomes["right"], lambda x: ltq.estimate(x, by="class")),
        ("head_tail_curve", outcomes, ltq.head_tail_curve),
        ("at_equal_head", outcomes, ltq.at_equal_head),
        ("tail_at_equal_head", outcomes, ltq.tail_at_equal_head),
        ("lost_at_equal_head", outcomes, ltq.lost_at_equal_head),
        ("allocate", alone, lambda x: ltq.allocate(x, mean_bits=5)),
        ("allocate exactly", alone, lambda x: ltq.allocate(x, mean_bits=5, how="exact")),
        ("random_widths", alone, lambda x: ltq.random_widths(x, mean_bits=5, draws=2)),
        ("repair", logits, lambda x: ltq.repair(x, images=50, draws=1)),
    ]
    for name, whole, function in functions:
        for what, value in spoiled(whole):
            yield f"{name}, {what}", lambda f=function, v=value: f(v)
    matrix = logits.isel(seed=0).sel(bits=4).values
    bad = {
        "NaN": matrix * np.nan,
        "infinite": matrix + np.inf,
        "constant": matrix * 0,
        "empty": matrix[:0],
        "no classes": matrix[:, :0],
        "one row": matrix[0],
        "three dimensions": matrix[None],
        "words": matrix.astype(str),
    }
    for name in ("match_shares", "match_probabilities", "match_means"):
        for what, value in bad.items():
            match = getattr(statistics, name)
            yield f"{name}, {what}", lambda f=match, v=value: f(v, matrix)
            yield f"{name} to {what}", lambda f=match, v=value: f(matrix, v)
    settings = [
        ("evaluate", {"bits": bits}) for bits in ([1], [9], [33], [-1], [4.5], [], "4", {"L99": 4})
    ]
    settings += [("evaluate", {"method": name}) for name in ("none", "", None, [], 3)]
    settings += [("sensitivity", {"bits": bits}) for bits in ([1], [16], [], None, "4")]
    for name, told in settings:
        yield f"{name} {told}", lambda f=name, t=told: getattr(ltq, f)(networks, **t)
    for told in ({"mean_bits": 0}, {"mean_bits": float("nan")}, {}, {"max_size": -1},
                 {"mean_bits": 5, "choices": (6,)}, {"mean_bits": 5, "choices": ()},
                 {"mean_bits": 5, "minimize": "nobody"}, {"mean_bits": 5, "how": "magic"},
                 {"mean_bits": 5, "choices": (7, 3)}, {"mean_bits": "5"}):  # fmt: skip
        yield f"allocate {told}", lambda t=told: ltq.allocate(alone, **t)
    for name in ("", "CRT", None, "lws ", ["crt"]):
        yield f"decouple {name!r}", lambda n=name: ltq.decouple(networks, n)


def tensors() -> Iterator[tuple[str, Callable[[], Any]]]:
    """Quantization of tensors and modules with nothing sensible in them."""
    import torch
    from torch import nn

    from ltqlib.quantization import methods

    def net(value: float | None = None, classes: int = 3) -> nn.Module:
        made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes))
        if value is not None:
            for parameter in made.parameters():
                parameter.data.fill_(value)
        return made.eval()

    images = torch.rand(6, 3, 8, 8)
    inputs = {
        "NaN": images * torch.nan,
        "infinite": images + torch.inf,
        "constant": images * 0,
        "empty": images[:0],
        "another shape": images[:, :2],
        "no batch": images[0],
        "whole numbers": images.to(torch.int64),
    }
    for name in methods.names()[:: many(5, 1)]:
        for what, value in (("NaN", torch.nan), ("infinite", torch.inf), ("constant", 0.0)):
            yield (
                f"quantize by {name}, weights {what}",
                lambda n=name, v=value: finite(ltq.quantize(net(v), 4, images, n, images), images),
            )
        for what, given_ in inputs.items():
            yield (
                f"quantize by {name}, calibration {what}",
                lambda n=name, g=given_: finite(ltq.quantize(net(), 4, images, n, g), images),
            )
    for what, given_ in inputs.items():
        yield f"quantize, example {what}", lambda g=given_: ltq.quantize(net(), 4, g)
    for bits in (0, 1, 9, -4, 4.5, "4", None, {"9": 4}, {"0": 1}, True, {}):
        yield f"quantize to {bits!r} bits", lambda b=bits: ltq.quantize(net(), b, images)
    for module in (nn.Identity(), nn.Sequential(), None, "net", nn.Linear(3, 3)):
        yield f"quantize {module!r}", lambda m=module: ltq.quantize(m, 4, images)


def finite(model: Any, images: Any) -> None:
    """A quantized model whose answers are no numbers is no result."""
    assert model(images).isfinite().all(), "its logits are not finite"


def test_public_functions(tally, networks):
    with tally("inputs", "public functions: NaN, constant, empty, of another shape") as row:
        for what, call in [*calls(networks), *tensors()]:
            with soon(row, what):
                call()
