"""What an audit measured, image by image, the tables that follow, and its files. No torch."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from ltqlib.deploy import findings
from ltqlib.deploy.limits import Limits, judge, least_lost, recommend
from ltqlib.errors import InputError
from ltqlib.evidence.arrays import SUFFIX, read_dataset, write_dataset
from ltqlib.files import write_whole
from ltqlib.statistics import Estimates

FILES = ("outcomes", "alone", "examples")


@dataclass(eq=False)
class Audit:
    """What was measured, image by image, and the tables that follow from it.

    Attributes:
        outcomes: of the first test set, (configuration, image); see :mod:`.findings`.
        alone: ``right`` (layer, bits, image): one layer quantized, on the half that chooses.
        others: outcomes of the other test sets, by name.
        examples: ``pixels`` of some images that the smallest uniform width lost.
        widths: weight bits (configuration, layer).
        about: plain values: model, data, limits, seconds, what was skipped, what was exported.
    """

    outcomes: xr.Dataset = field(repr=False)
    alone: xr.Dataset = field(repr=False)
    others: dict[str, xr.Dataset] = field(repr=False)
    examples: xr.Dataset = field(repr=False)
    about: dict[str, Any]

    @property
    def limits(self) -> Limits:
        """As they were given."""
        return Limits(**self.about["limits"])

    @property
    def uniform(self) -> list[str]:
        """Configurations with one width for all layers, most bits first."""
        return self.outcomes["configuration"].values[self.outcomes["kind"] == "uniform"].tolist()

    @property
    def recommended(self) -> tuple[str, bool]:
        """Configuration and whether class shares are matched; chosen on one half."""
        return recommend(self.outcomes, self.limits)

    @property
    def best_method(self) -> str:
        """The configuration that loses least at the smallest width; chosen on one half."""
        return least_lost(self.outcomes)

    @property
    def verdicts(self) -> pd.DataFrame:
        """The recommended configuration against each limit, judged on the other half."""
        return judge(self.outcomes, self.limits, self.recommended)

    @property
    def groups(self) -> Estimates:
        """Loss of every group: as it is, repaired, at equal head accuracy, at best points."""
        return findings.by_group(self.outcomes)

    @property
    def sensitivity(self) -> pd.DataFrame:
        """Points lost with one layer alone at a width."""
        return findings.sensitivity(self.alone)

    @property
    def candidates(self) -> pd.DataFrame:
        """Everything that could be shipped, judged on the half that did not choose."""
        return findings.candidates(self.outcomes, "judge")

    @property
    def bit_config(self) -> dict[str, int]:
        """Weight bits of every layer in the recommended configuration."""
        chosen = self.outcomes["widths"].sel(configuration=self.recommended[0])
        return dict(zip(chosen["layer"].values.tolist(), chosen.values.tolist(), strict=True))

    def classes(self, configuration: str) -> pd.DataFrame:
        """One row a class; see :func:`.findings.by_class`."""
        return findings.by_class(self.outcomes, configuration)

    def confusions(self, configuration: str) -> pd.DataFrame:
        """Calls that changed, counted; see :func:`.findings.confusions`."""
        return findings.confusions(self.outcomes, configuration)

    def flips(self, configuration: str) -> pd.DataFrame:
        """Images whose call changed; see :func:`.findings.flips`."""
        return findings.flips(self.outcomes, configuration)

    def write(self, folder: Path) -> None:
        """Into a folder, each file whole or not at all."""
        for name in FILES:
            write_dataset(folder / f"{name}{SUFFIX}", getattr(self, name))
        for number, found in enumerate(self.others.values()):
            write_dataset(folder / f"other-{number}{SUFFIX}", found)
        told = {**self.about, "others": list(self.others)}
        write_whole(folder / "about.json", json.dumps(told, indent=1).encode())

    @classmethod
    def read(cls, folder: Path | str) -> "Audit":
        """What :meth:`write` wrote.

        Raises:
            InputError: something is missing or damaged.
        """
        folder = Path(folder)
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no audit: run `ltq audit` first") from error
        outcomes, alone, examples = (read_dataset(folder / f"{name}{SUFFIX}") for name in FILES)
        names = about.pop("others")
        others = {n: read_dataset(folder / f"other-{k}{SUFFIX}") for k, n in enumerate(names)}
        return cls(_listed(outcomes), _listed(alone), others, examples, about)


def _listed(dataset: xr.Dataset) -> xr.Dataset:
    """Attributes that a file gives back as arrays, as lists."""
    lists = {
        name: np.atleast_1d(dataset.attrs.get(name, [])).tolist() for name in ("classes", "counts")
    }
    return dataset.assign_attrs(lists)
