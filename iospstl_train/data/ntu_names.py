"""Names of NTU RGB+D sequences: what they tell, which exist, and how the benchmarks split them."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from itertools import product
from typing import NamedTuple

import numpy as np

from iospstl_core.splits import parse_split
from iospstl_train.data.ntu_classes import NTU_CLASS_NAMES
from iospstl_train.data.published import Published

N_CLASSES = {"ntu60": 60, "ntu120": 120}
LAST_SETUP = {"ntu60": 17, "ntu120": 32}

_XSUB_60 = "1,2,4,5,8,9,13-19,25,27,28,31,34,35,38"
_XSUB_120 = _XSUB_60 + ",45-47,49,50,52-59,70,74,78,80-86,89,91-95,97,98,100,103"
_EVEN_SETUPS = ",".join(str(setup) for setup in range(2, 33, 2))
_ODD_SETUPS = ",".join(str(setup) for setup in range(1, 33, 2))
SPLITS = {
    "ntu60": {
        "xsub": f"train: subject in {_XSUB_60}; test: subject not in {_XSUB_60}",
        "xview": "train: view in 2,3; test: view in 1",
    },
    "ntu120": {
        "xsub": f"train: subject in {_XSUB_120}; test: subject not in {_XSUB_120}",
        "xset": f"train: setup in {_EVEN_SETUPS}; test: setup in {_ODD_SETUPS}",
    },
}

PUBLISHED_SIZES = {
    "ntu60": {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)},
    "ntu120": {"xsub": (63_026, 50_919), "xset": (54_468, 59_477)},
}
"""Training and test sequences of each split, without those that miss skeletons."""

_SUBJECTS = {
    1: "1-8",
    2: "3,7-14",
    3: "1,2,7,8,15-19",
    4: "3,7,8,20",
    5: "4,10,13,15-18,21",
    6: "1,7,8,15-17,19,22-24",
    7: "1,7,8,15-19,25-28",
    8: "1,7,8,15,19,25,29-36",
    9: "7,8,15-17,19,25",
    10: "7,8,13,15-19,21,25",
    11: "1,2,7,8,15-19,25,27,28,38",
    12: "7,8,15-19,25,27,28,37",
    13: "7,8,15-19,25,27,28,37",
    14: "7,8,15,17,19,25,27,37,39",
    15: "7,8,15-17,19,25,37",
    16: "7,8,19,21,25,39,40",
    17: "3,7-9,15-17,20",
    18: "8,41-45",
    19: "8,41,42,46-51",
    20: "8,41,43,44,52-54",
    21: "55-60",
    22: "61-67",
    23: "55-68",
    24: "57,60-64,67",
    25: "55,56,58,59,65,66,68",
    26: "8,41,44,49-51,69-72,74-77",
    27: "6,8,11,41,43,44,78-86",
    28: "8,41-43,46,48,70,73,87",
    29: "6,8,41,43,44,48,49,51,67,74,75,80,88-90",
    30: "8,11,41,43,44,48,67,75,76,81,85,88,91-96",
    31: "6,8,41-44,51,67,82,85,96-101",
    32: "8,41,43,44,67,102-106",
}
"""Setup -> who was recorded in it: by three cameras, twice, in all actions of that half."""

_FIRST_SETUP_120 = 18  # of the second half: actions 61 to 120
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
EXAMPLE = "S001C001P001R001A001"


class NtuName(NamedTuple):
    """The numbers in a name; `action` counts from 1."""

    setup: int
    view: int
    subject: int
    repetition: int
    action: int

    @property
    def label(self) -> int:
        """Class index, from 0."""
        return self.action - 1


def parse_name(name: str) -> NtuName | None:
    """Return the numbers in a name without extension; None if it is none of the dataset."""
    match = _NAME.fullmatch(name)
    if match is None or not 1 <= int(match[5]) <= len(NTU_CLASS_NAMES):
        return None
    return NtuName(*map(int, match.groups()))


def belongs_to(dataset: str, name: NtuName) -> bool:
    """Say whether a sequence is one of the 60 or of the 120 classes' dataset."""
    return name.action <= N_CLASSES[dataset] and 1 <= name.setup <= LAST_SETUP[dataset]


def missing_names() -> frozenset[str]:
    """Return the 535 sequences whose skeletons are missing or incomplete, by their owners."""
    text = (files("iospstl_train.data") / "ntu_missing.txt").read_text(encoding="ascii")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


@lru_cache
def published(dataset: str) -> Published:
    """Return the names, in order, and split sizes of ``ntu60`` or ``ntu120``."""
    missing = missing_names()
    names = sorted(
        name
        for setup, subjects in _SUBJECTS.items()
        if setup <= LAST_SETUP[dataset]
        for name in _names_of_setup(setup, subjects)
        if name not in missing
    )
    return Published(tuple(names), PUBLISHED_SIZES[dataset])


def _names_of_setup(setup: int, subjects: str) -> list[str]:
    condition = parse_split(f"train: subject in {subjects}; test: subject in 0").train_conditions
    everybody = np.arange(1, 107)
    here = everybody[condition[0].holds({"subject": everybody})]
    first = 1 if setup < _FIRST_SETUP_120 else 61
    numbers = product((1, 2, 3), here, (1, 2), range(first, first + 60))
    return [f"S{setup:03}C{c:03}P{p:03}R{r:03}A{a:03}" for c, p, r, a in numbers]
