"""The experiment as a graph: training and measuring every run, papermill copies, the book.

    snakemake                                   the laptop profile: four factors, seed 0
    snakemake --config profile=smoke imbalance_factors=0.1,0.01 seeds=0,1
    snakemake --config imbalance_factors=0.01 seeds=0,1 class_orders=reversed,random-1,random-2
    snakemake --config data=folder:data/mine    with images of your own
    snakemake --config until=allocate           every step up to one that is not in each run
    snakemake book                              what `make book` does
    snakemake --workflow-profile profiles/slurm the same graph on a cluster

Settings of profiles/default apply by themselves. A run is two jobs, `train` (hours; a GPU if there
is one) and `measure` (minutes): with one thread a job, two runs train side by side on two cores.
The jobs call `ltq run`, which reads the records that are there and computes the others, going on
within a training where a killed one stopped, at most one epoch back.

Snakemake sees stamps (runs/<digest>/*.done), not records: a record may be published, and results/
is read, never an output, whatever the file times of a fresh clone. Imports are not traced, so every
job has the hash of the library among its parameters: after a change of the library the jobs run
again, and `ltq` reads the records that still hold in a second, without training. What else a result
depends on (options, images) is checked there as well.
"""

import hashlib
import os
import sys
from pathlib import Path

import ltqlib.first as ltqlib
from ltqlib.first import paths
from ltqlib.first.config import from_profile
from ltqlib.first.errors import InputError
from ltqlib.first.experiment import STEPS, find_config
from ltqlib.first.longtail import CLASS_ORDERS
from snakemake.exceptions import WorkflowError

# the programs of the environment that Snakemake runs in, whether or not it is activated
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def several(name, default, kind):
    """A setting of --config that may be one value, a list, or text with commas."""
    value = config.get(name, default)
    parts = value.split(",") if isinstance(value, str) else value
    return [kind(part) for part in (parts if isinstance(parts, (list, tuple)) else [parts])]


PROFILE = config.get("profile", "laptop")
FACTORS = several("imbalance_factors", "1,0.1,0.02,0.01", float)
SEEDS = several("seeds", "0", int)
ORDERS = several("class_orders", "label", str)  # names of ltqlib.longtail.CLASS_ORDERS
if unknown := set(ORDERS) - set(CLASS_ORDERS):
    raise WorkflowError(f"class_orders={unknown.pop()}: use some of {', '.join(CLASS_ORDERS)}")
DATA = config.get("data") or os.environ.get("LTQ_DATA")
DEVICE = config.get("device", "auto")
THREADS = int(config.get("threads", 1))
UNTIL = config.get("until", "mpq")  # the last step that `measure` computes
if UNTIL not in STEPS:
    raise WorkflowError(f"until={UNTIL}: use one of {', '.join(STEPS)}")

LIBRARY = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(ltqlib.__file__).parent.rglob("*.py")))
).hexdigest()[:12]
RUNS = os.path.relpath(paths.runs())
SOURCE = {"data": DATA} if DATA else {}
try:
    RUNS_OF_GRID = [
        from_profile(PROFILE, imbalance_factor=factor, seed=seed, class_order=order, **SOURCE)
        for factor in FACTORS
        for seed in SEEDS
        for order in (CLASS_ORDERS[name] for name in ORDERS)
    ]
except InputError as error:
    raise WorkflowError(str(error)) from None
GRID = {run.digest(): run for run in RUNS_OF_GRID}


def options(wildcards):
    """The options of `ltq run` for a run."""
    run = GRID[wildcards.digest]
    return [
        f"--profile={run.profile}",
        f"--imbalance-factor={run.imbalance_factor!r}",
        f"--seed={run.seed}",
        f"--data={run.data}",
        f"--class-order={','.join(map(str, run.class_order)) or 'label'}",
        f"--device={DEVICE}",
    ]


def evidence(factor):
    """The published records of the laptop profile, seed 0, for a factor; none if one is missing."""
    folder = paths.results(find_config("laptop", float(factor)).digest())
    found = sorted(os.path.relpath(record) for record in folder.glob("*.json"))
    return found if (folder / "mpq.json").exists() else []


# The papermill copies that the book offers. The book never trains: a factor that is not published
# yet is shown with the smoke profile, which takes a minute.
COPIES = {
    factor: "laptop" if evidence(factor) else "smoke" for factor in ("0.1", "0.02", "0.01")
}


wildcard_constraints:
    digest="[0-9a-f]{12}",
    factor="[0-9.e-]+",


localrules:
    all,
    book,
    copies,
    notebook,
    papermill,


rule all:
    input:
        expand(f"{RUNS}/{{digest}}/measure.done", digest=GRID),


rule train:
    output:
        touch(f"{RUNS}/{{digest}}/train.done"),
    params:
        options=options,
        library=LIBRARY,
        fresh=os.environ.get("LTQ_FRESH", ""),  # another value runs the job again
    threads: THREADS
    shell:
        "ltq run {params.options:q} --threads {threads} --until train"


rule measure:
    input:
        f"{RUNS}/{{digest}}/train.done",
    output:
        touch(f"{RUNS}/{{digest}}/measure.done"),
    params:
        options=options,
        until=UNTIL,
        library=LIBRARY,
        fresh=os.environ.get("LTQ_FRESH", ""),
    threads: THREADS
    shell:
        "ltq run {params.options:q} --threads {threads} --until {params.until}"


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
        profile=lambda wildcards: COPIES.get(wildcards.factor, PROFILE),
        library=LIBRARY,
    shell:
        "OMP_NUM_THREADS={threads} papermill --no-progress-bar --kernel python3 --cwd book "
        "-p profile {params.profile} -p imbalance_factor {wildcards.factor} -p seed 0 "
        "{input.page} {output}"


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
        sorted(os.path.relpath(record) for record in paths.results().glob("*/*.json")),
        rules.copies.input,
        config="_config.yml",
        toc="_toc.yml",
    output:
        "_build/html/index.html",
    params:
        library=LIBRARY,
    shell:  # from nothing: the records that a page reads are not among what Sphinx watches
        "rm -rf _build && jupyter-book build -n -W --keep-going --config {input.config} "
        '--toc "$PWD/{input.toc}" --path-output . book'
