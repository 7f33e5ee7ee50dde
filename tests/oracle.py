"""The golden moments of tests/golden/moments.json as float64 arrays; make_moments.py says how they were computed."""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Elementwise(NamedTuple):
    mean: np.ndarray
    var: np.ndarray
    first: np.ndarray  # E f
    square: np.ndarray  # E f^2
    slope: np.ndarray  # E f'^2
    spread: np.ndarray  # Var f


class ScaledElu(NamedTuple):
    lam: float
    alpha: float
    mean: np.ndarray  # float32 numbers, as is var
    var: np.ndarray
    first: np.ndarray
    spread: np.ndarray
    slope: np.ndarray
    first_by_mean: np.ndarray  # derivatives
    first_by_var: np.ndarray
    spread_by_mean: np.ndarray
    spread_by_var: np.ndarray


class Pairs(NamedTuple):
    mean: np.ndarray  # [n, 2]
    cov: np.ndarray  # [n, 2, 2]
    product: np.ndarray  # E f(u) f(v)


@cache
def _golden():
    return json.loads(Path(__file__).with_name("golden").joinpath("moments.json").read_text())


def elementwise_names():
    """The activations with golden moments."""
    return tuple(_golden()["elementwise"]["rows"])


def elementwise(name):
    mean, sd = np.array(_golden()["points"]["rows"], float).T
    return Elementwise(mean, sd * sd, *np.array(_golden()["elementwise"]["rows"][name], float).T)


def scaled_elu():
    """One `ScaledElu` for each pair of constants; SELU's own come first."""
    return [
        ScaledElu(part["lam"], part["alpha"], *np.array(part["points"], float).T)
        for part in _golden()["scaled_elu"]["sets"]
    ]


def pairs(name):
    rows = np.array([row[1:] for row in _golden()["pairs"]["rows"] if row[0] == name], float)
    mu, mv, vu, vv, cov, product = rows.T
    return Pairs(np.stack([mu, mv], -1), np.stack([np.stack([vu, cov], -1), np.stack([cov, vv], -1)], -2), product)
