"""The README's figure and table: those of the front page, made from the published evidence.

``python -m ltqlib.paper.readme`` writes both; a test holds them to the evidence.
"""

import re
from pathlib import Path

import ltqlib as ltq
from ltqlib import paths
from ltqlib.files import write_whole
from ltqlib.paper import plots
from ltqlib.paper.claims import evaluate_claims
from ltqlib.paper.overview import claims_table
from ltqlib.statistics import Estimates

FIGURE = "book/_static/two-losses.png"
WIDTHS = (6, 5, 4)
BLOCK = re.compile(r"(?<=<!-- evidence -->\n).*?(?=<!-- /evidence -->)", re.DOTALL)


def losses() -> dict[str, Estimates]:
    """What head and tail lose, as it is and at equal head accuracy, baseline and cRT."""
    baseline = ltq.train(ltq.load_data("cifar10", imbalance_factor=0.01))
    networks = {"baseline": baseline, "cRT": ltq.decouple(baseline, "crt")}
    rounded = ltq.evaluate(networks, bits=[32, *WIDTHS])
    lost = ltq.estimate(rounded.right.sel(bits=32) - rounded.right, by="group")
    return {"plain": lost, "equal": ltq.lost_at_equal_head(rounded)}


def said(found: dict[str, Estimates]) -> str:
    """The figure in words: its text alternative, and what a test compares."""
    plain = found["plain"]["value"]
    parts = [
        f"at {bits} bits head {plain['baseline', bits, 'head']:.1f} and tail "
        f"{plain['baseline', bits, 'tail']:.1f}"
        for bits in WIDTHS
    ]
    return "Points of accuracy that the baseline loses: " + ", ".join(parts) + "."


def block() -> str:
    """What stands between the marks of the README: the figure and the table of claims."""
    table = claims_table(evaluate_claims("laptop", "cifar10"))
    rows = ["| claim of the post | verdict | measured | points here | in the post |"]
    rows += ["|---|---|---|---|---|"]
    last = ""
    for (claim, verdict, measured), row in zip(table.index, table.to_numpy(), strict=True):
        told = ("", "") if claim == last else (claim, verdict)
        rows.append(f"| {' | '.join((*told, measured, *row))} |")
        last = claim
    return f"![{said(losses())}]({FIGURE})\n\n" + "\n".join(rows) + "\n"


def main() -> None:
    """Write the figure, and the block into the README."""
    found = losses()
    figure = plots.two_losses(found["plain"], found["equal"], widths=WIDTHS)
    figure.savefig(paths.root() / FIGURE, metadata={"Description": said(found)})
    readme: Path = paths.root() / "README.md"
    text = BLOCK.sub(lambda _: block(), readme.read_text(encoding="utf-8"))
    write_whole(readme, text.encode())


if __name__ == "__main__":
    main()
