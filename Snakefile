"""The experiment as a graph: training and evaluating every network, papermill copies, the book.

    snakemake                                   the laptop profile: three factors, seed 0
    snakemake --config profile=smoke imbalance_factors=0.1,0.01 seeds=0,1
    snakemake --config imbalance_factors=0.01 seeds=0,1 class_orders=reversed,random-1,random-2
    snakemake --config recipes=plain,mixup=1,sam=0.1+weight_decay=0.001
    snakemake --config data=folder:data/mine imbalance_factors=natural
    snakemake --config until=train              no evaluations yet
    snakemake chapter                           the pages of chapter 3, which fill in what is missing
    snakemake book                              what `make book` does
    snakemake --workflow-profile profiles/slurm the same graph on a cluster

Settings of profiles/default apply by themselves. A network is two jobs, `train` (half an hour or
hours; a GPU if there is one) and `evaluate` (minutes): with one thread a job, two networks train
side by side on two cores. The jobs call `ltq run`, which reads what is stored and computes the rest,
going on within a training where a killed one stopped, at most twenty seconds back.

Snakemake sees stamps (runs/<digest>/*.done), not results: a network may be published, and results/
is read, never an output, whatever the file times of a fresh clone. Imports are not traced, so every
job has the hash of the library among its parameters: after a change of the library the jobs run
again, and `ltq` reads in a second what is stored.
"""

import dataclasses
import hashlib
import os
import re
import sys
from pathlib import Path

import ltqlib as ltq
import yaml
from ltqlib import paths
from ltqlib.cli.run import RECIPE, STEPS
from ltqlib.config import NATURAL, PROFILES, RANGES, from_profile
from ltqlib.data import CLASS_ORDERS
from ltqlib.errors import InputError
from ltqlib.experiment.networks import known_seeds
from snakemake.exceptions import WorkflowError

# the programs of the environment that Snakemake runs in, whether or not it is activated
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def several(name, default, kind):
    """A setting of --config that may be one value, a list, or text with commas."""
    value = config.get(name, default)
    parts = value.split(",") if isinstance(value, str) else value
    return [kind(part) for part in (parts if isinstance(parts, (list, tuple)) else [parts])]


def factor_of(text):
    return NATURAL if text == NATURAL else float(text)


def recipe_of(text):
    """The fields that a recipe changes: `plain` changes none, others are field=value+field=value."""
    changes = {}
    for part in [] if text == "plain" else text.split("+"):
        name, _, value = part.partition("=")
        if name not in (known := [field.name for field in RECIPE]):
            raise WorkflowError(f"recipes={text}: {name!r} is none of {', '.join(known)}")
        kind = RANGES[name][0] if name in RANGES else str
        try:
            changes[name] = kind(value)
        except ValueError:
            raise WorkflowError(f"recipes={text}: {name} is {value!r}, not a number") from None
    return changes


def the_grid():
    """Configuration by digest, and the recipe that each has."""
    found = {}
    for factor in several("imbalance_factors", "0.1,0.02,0.01", factor_of):
        for order in ORDERS:
            data = ltq.load_data(SOURCE, factor, CLASS_ORDERS[order])
            for recipe in several("recipes", "plain", recipe_of):
                for seed in several("seeds", "0", int):
                    run = from_profile(PROFILE, seed=seed, **data.configuration, **recipe)
                    found[run.digest()] = run, recipe
    return found


PROFILE = config.get("profile", "laptop")
SOURCE = config.get("data") or PROFILES.get(PROFILE, {}).get("data", "cifar10")
ORDERS = several("class_orders", "label", str)  # names of ltqlib.data.CLASS_ORDERS
if unknown := set(ORDERS) - set(CLASS_ORDERS):
    raise WorkflowError(f"class_orders={unknown.pop()}: use some of {', '.join(CLASS_ORDERS)}")
DEVICE = config.get("device", "auto")
THREADS = int(config.get("threads", 1))
UNTIL = config.get("until", STEPS[-1])
if UNTIL not in STEPS:
    raise WorkflowError(f"until={UNTIL}: use one of {', '.join(STEPS)}")
try:
    GRID = the_grid()
except InputError as error:
    raise WorkflowError(str(error)) from None

LIBRARY = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(ltq.__file__).parent.rglob("*.py")))
).hexdigest()[:12]
FRESH = os.environ.get("LTQ_FRESH", "")  # another value runs the jobs again
RUNS = os.path.relpath(paths.runs())


def options(wildcards):
    """The options of `ltq run` for a network."""
    run, recipe = GRID[wildcards.digest]
    told = {
        "profile": run.profile,
        "data": SOURCE,
        "imbalance-factor": run.imbalance_factor,
        "class-order": ",".join(map(str, run.class_order)) or "label",
        "seed": run.seed,
        "device": DEVICE,
        **{name.replace("_", "-"): value for name, value in recipe.items()},
    }
    return [f"--{name}={value}" for name, value in told.items()]


def evidence(factor):
    """The published files of the laptop networks at an imbalance factor."""
    first = from_profile("laptop", imbalance_factor=factor_of(factor))
    folders = [
        paths.results(dataclasses.replace(first, seed=seed).digest()) for seed in known_seeds(first)
    ]
    return sorted(os.path.relpath(path) for folder in folders for path in folder.glob("*"))


# The papermill copies that the book offers. The book never trains: where no network is published
# yet, a factor is shown with the smoke profile, which takes a minute.
COPIES = {factor: "laptop" if evidence(factor) else "smoke" for factor in ("0.1", "0.02", "0.01")}


def parameters_of_copy(wildcards):
    profile = COPIES.get(wildcards.factor, PROFILE)
    source = SOURCE if wildcards.factor not in COPIES else PROFILES[profile]["data"]
    return f"-p source {source} -p profile {profile} -p imbalance_factor {wildcards.factor}"


def chapter():
    """The pages of chapter 3, as the table of contents lists them."""
    for part in yaml.safe_load(Path("_toc.yml").read_text())["parts"]:
        for entry in part["chapters"]:
            if entry["file"] == "experiments":
                return [section["file"] for section in entry.get("sections", [])]
    return []


def parameters_of_page(wildcards):
    """Source and profile, for the pages that have them."""
    text = Path(f"book/{wildcards.page}.md").read_text(encoding="utf-8")
    cell = re.search(r"^:tags: \[parameters\]\n(.*?)^```", text, re.S | re.M)
    asked = {"source": SOURCE, "profile": PROFILE}
    return " ".join(f"-p {k} {v}" for k, v in asked.items() if cell and f"\n{k} = " in cell[1])


wildcard_constraints:
    digest="[0-9a-f]{12}",
    factor="[0-9.e-]+|natural",
    page=r"[\w-]+",


localrules:
    all,
    book,
    chapter,
    copies,
    notebook,
    papermill,


rule all:
    input:
        expand(f"{RUNS}/{{digest}}/{UNTIL}.done", digest=GRID),


rule train:
    output:
        touch(f"{RUNS}/{{digest}}/train.done"),
    params:
        options=options,
        library=LIBRARY,
        fresh=FRESH,
    threads: THREADS
    shell:
        "ltq run {params.options:q} --threads {threads} --until train"


rule evaluate:
    input:
        rules.train.output,
    output:
        touch(f"{RUNS}/{{digest}}/{{step}}.done"),
    wildcard_constraints:
        step="decouple|evaluate",
    params:
        options=options,
        library=LIBRARY,
        fresh=FRESH,
    threads: THREADS
    shell:
        "ltq run {params.options:q} --threads {threads} --until {wildcards.step}"


rule page:
    input:
        "book/{page}.md",
    output:
        f"{RUNS}/pages/{PROFILE}/{{page}}.ipynb",
    params:
        parameters=parameters_of_page,
        library=LIBRARY,
        fresh=FRESH,
    threads: THREADS
    shell:
        "jupytext --quiet --to ipynb --output - {input} | OMP_NUM_THREADS={threads} "
        "papermill --no-progress-bar --kernel python3 --cwd book {params.parameters} - {output}"


rule chapter:
    input:
        expand(rules.page.output, page=chapter()),


rule notebook:
    input:
        "book/factor.md",
    output:
        temp("book/executed/factor.ipynb"),
    shell:
        "jupytext --quiet --to ipynb --output {output} {input}"


rule papermill:
    input:
        lambda wildcards: evidence(wildcards.factor),
        page=rules.notebook.output,
    output:
        "book/executed/factor-{factor}.ipynb",
    params:
        parameters=parameters_of_copy,
        library=LIBRARY,
    shell:
        "OMP_NUM_THREADS={threads} papermill --no-progress-bar --kernel python3 --cwd book "
        "{params.parameters} {input.page} {output}"


rule copies:
    input:
        expand("book/executed/factor-{factor}.ipynb", factor=COPIES),


PAGES = [
    str(path)
    for pattern in ("*.md", "*.bib", "*.yml", "_static/*", "_ext/*.py")
    for path in sorted(Path("book").glob(pattern))
]


rule book:
    input:
        PAGES,
        sorted(os.path.relpath(path) for path in paths.results().glob("*/*")),
        rules.copies.input,
        config="_config.yml",
        toc="_toc.yml",
    output:
        "_build/html/index.html",
    params:
        library=LIBRARY,
    shell:  # from nothing: the results that a page reads are not among what Sphinx watches
        "rm -rf _build && jupyter-book build -n -W --keep-going --config {input.config} "
        '--toc "$PWD/{input.toc}" --path-output . book'
