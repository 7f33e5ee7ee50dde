"""Which measures of which places: what a caller of `jnorm.measure.probes.watch` says, looked up."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jnorm._ground import checks
from jnorm.measure import quantities
from jnorm.measure._places import MOVES, Place, Spot
from jnorm.measure._slopes import argument

Measure = Callable[[jax.Array], Any] | quantities.OfSlope
Measures = str | Sequence[str] | Mapping[str, Measure]
Where = str | Sequence[str] | Callable[[Place], bool] | None

EDGES = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)

KNOWN: dict[str, Measure] = {
    "mean": quantities.mean,
    "variance": quantities.variance,
    "norm": quantities.norm,
    "largest": quantities.largest,
    "sign_balance": quantities.sign_balance,
    "saturation": quantities.OfSlope(quantities.saturation),
    "dead": quantities.OfSlope(quantities.dead),
    "example_correlation": quantities.example_correlation,
    "unit_correlation": quantities.unit_correlation,
    "rank": quantities.rank,
    "effective_rank": quantities.effective_rank,
    "histogram": partial(quantities.histogram, edges=EDGES),
    "percentiles": quantities.percentiles,
}

TIERS = {"cheap": ("mean", "variance"), "full": tuple(KNOWN)}


def measures(asked: Measures) -> dict[str, Measure]:
    """The measures by name: of a tier, of a list of names, or the caller's own."""
    if isinstance(asked, Mapping):
        for name, measure in asked.items():
            if not (callable(measure) or isinstance(measure, quantities.OfSlope)):
                raise TypeError(f"`measures` must map names to functions; got {measure!r} for {name!r}")
        return dict(asked)
    if isinstance(asked, str):
        checks.choice("measures", asked, TIERS)
        asked = TIERS[asked]
    for name in asked:
        checks.choice("measures", name, KNOWN)
    return {name: KNOWN[name] for name in asked}


def places(found: Sequence[Spot], where: Where) -> list[Spot]:
    """Those of the spots that hold new numbers and are asked for; an unknown name lists all that there are."""
    spots = [s for s in found if s.output is not None and s.site.primitive not in MOVES and _is_real(s.place.dtype)]
    if where is None:
        return spots
    if callable(where):
        chosen = [spot for spot in spots if where(spot.place)]
        if not chosen:
            raise ValueError(f"`where` chooses nothing; {_listed(spots)}")
        return chosen
    wanted: set[str] = set()
    for pattern in [where] if isinstance(where, str) else where:
        hits = {spot.place.name for spot in spots if _matches(spot.place, pattern)}
        if not hits:
            raise ValueError(f"`where` has {pattern!r}, which is not there; {_listed(spots)}")
        wanted |= hits
    return [spot for spot in spots if spot.place.name in wanted]


def of_spot(spot: Spot, asked: Mapping[str, Measure]) -> dict[str, Measure]:
    """The measures that can be taken of a spot: slopes are those of an activation."""
    bends = argument(spot.site) is not None
    return {name: m for name, m in asked.items() if bends or not isinstance(m, quantities.OfSlope)}


def _is_real(dtype: str) -> bool:
    return jnp.issubdtype(jnp.dtype(dtype), jnp.floating)


def _matches(place: Place, pattern: str) -> bool:
    """A prefix that ends where a part of the name ends, or a pattern such as ``*/tanh``, of the name or of the line."""
    line = f"{place.line.file.rpartition('/')[2]}:{place.line.number}/{place.operation}" if place.line else ""
    names = [place.name, line]
    if any(sign in pattern for sign in "*?["):
        return any(fnmatch.fnmatchcase(name, pattern) for name in names)
    return any(name == pattern or name.startswith((f"{pattern}/", f"{pattern}#")) for name in names)


def _listed(spots: Sequence[Spot]) -> str:
    shown = [spot.place.name for spot in spots]
    return f"there are {', '.join(shown[:40]) or 'no floating values'}" + (", ..." if len(shown) > 40 else "")
