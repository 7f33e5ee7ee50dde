"""What the figures run on: MNIST in three parts, and sweeps whose stores are in the experiment's folder."""

import warnings
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from experiments import classification, sweeping
from experiments.papers import Config
from experiments.papers.asking import Parts
from experiments.showing import Clock
from jnorm.sweeps import SweepResult

STORES = {"snn": ("snn",), "batch-norm": ("batch_norm",), "glorot": ("glorot_starts", "glorot"), "he": ("he",)}
"""The sweeps of each figure."""


def modules(names: Iterable[str]) -> dict[str, ModuleType]:
    """The modules of figures, by name."""
    from experiments.papers import batch_norm, glorot, he, snn

    known = {"snn": snn, "batch-norm": batch_norm, "glorot": glorot, "he": he}
    return {name: known[name] for name in names}


def pixels(folder: Path | None) -> Callable[[bool], Parts]:
    """``pixels(standardized)``: the parts of MNIST. Raises `Refused` where it is missing."""
    load = cache(lambda standardized: classification.load("mnist", folder, dev=1 / 6, standardized=standardized).parts)
    load(True)
    return load


def refuse_begun(config: Config) -> None:
    """Raise `Refused` before any work where there is a store that --resume does not ask for."""
    for figure in config.figures:
        for name in STORES[figure]:
            sweeping.refuse_begun(config.out / name, config.resume)


def swept(config: Config, clock: Clock, name: str, train: Any, **options: Any) -> SweepResult:
    """A sweep with a store of its own."""
    chunk = config.chunk or (1 if jax.default_backend() == "cpu" else "auto")
    with clock(name) as shown, warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\d+ of \d+ runs diverged")  # that is for the rules to judge
        return sweeping.stored(
            train,
            out=config.out / name,
            resume=config.resume,
            shown=shown,
            seeds=config.runs,
            chunk=chunk,
            **options,
        )
