"""What was measured of a model beside what `jnorm.predict` says, row by row."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jnorm import predict
from jnorm._ground import checks, keys
from jnorm.measure import _audited
from jnorm.measure._audited import Audit, AuditedRow
from jnorm.measure._families import family
from jnorm.measure._holding import LEAST, Held
from jnorm.measure._meant import Init, drawing, laws_of, lined_up, varied

Apply = Callable[[Any, Any], Any]
Measured = dict[str, np.ndarray]

FEWEST = 8  # draws of each side: with fewer of them no order of them is rare


def audit(
    init: Init,
    apply: Apply,
    x: Any,
    key: jax.Array,
    *,
    seeds: int = 32,
    laws: Any = None,
    reference: tuple[Init, Apply] | None = None,
    gradients: bool = False,
    level: float = 0.01,
    tolerance: float = 0.03,
) -> Audit:
    """Whether a model at initialization does what theory says, equation by equation, and where it first does not.

    The model is drawn ``seeds`` times, and as often as it is *meant*: with parameters that are drawn from ``laws``, or
    as ``reference`` draws and applies them. `jnorm.predict.predict` says of the latter what mean square each value
    has. Both run through their programs with each value set to its predicted size once it is measured, so that each
    row is measured given that what goes into it is right: an equation that is off is off by itself, and the next one
    is not. Gradients are held likewise on the way back.

    - **What is meant.** Without ``laws`` and ``reference`` it is what ``init`` draws, as far as variances go: found is
      what independent draws of these variances do not do. An initializer's wrong gain is found where ``laws`` say what
      it should be; a fault of the program where there is a reference, whose rows are lined up by operation and shape.
      Leaves of which a law says that they are known keep the numbers of ``init``.
    - **The theory's own error**, O(depth / width), raises no alarm: what is tested is the difference of the two sets of
      draws, of the same width and depth. How far theory is off is the column ``sound`` beside ``predicted``.
    - **Alarms.** The statistic of a row is the difference of the mean logarithms in standard errors, its limit the
      ``1 - level`` quantile of the largest one of all rows when draws change sides (Westfall, Young 1993), values and
      gradients together. Where a model is as it is meant, the draws of both sides are alike, and some row is off with
      probability ``level`` at most, at any width, whatever rows have in common. (Laws that are recognized, and those
      of which the variance alone is known, are alike up to what that leaves open.) A row that is off by less than
      ``tolerance`` is not reported.
    - **Following.** Where a value is zero or not finite it cannot be set right, and rows that take it up may follow.

    Args:
        init: ``init(key)`` returns parameters, a pytree; traced.
        apply: ``apply(params, x)``, traced.
        x: Its data, known and the same for all draws.
        key: A random key.
        seeds: Draws of each side, 8 at least.
        laws: A pytree of the structure of the parameters (the reference's, where there is one) with a
            `jnorm.predict.Law`, or None for one to be recognized, at each leaf. None: all are recognized.
        reference: A pair ``(init, apply)`` of a model that is right, on the same data. Its own draws are used, unless
            there are ``laws``.
        gradients: Whether gradients are audited, for cotangents N(0, 1) of the output.
        level: The probability of an alarm that is allowed where there is nothing to find.
        tolerance: By how much, relatively, a mean square may be off.

    Returns:
        The table.

    Raises:
        TypeError: ``init`` or ``apply`` is no function, or ``reference`` no pair of them.
        ValueError: Fewer than 8 seeds, a level or tolerance out of range, and what `jnorm.predict.predict` raises.
        NotImplementedError: An operation without a rule for predictions, named with its line.

    >>> import jax.numpy as jnp
    >>> from jnorm.predict import Law
    >>> def init(key):
    ...     return [jax.random.normal(k, (64, 64)) * gain / 8 for k, gain in zip(jax.random.split(key, 3), (1, 1.3, 1))]
    >>> def apply(weights, x):
    ...     for w in weights:
    ...         x = jnp.tanh(x @ w)
    ...     return x
    >>> x = jax.random.normal(jax.random.key(1), (8, 64))
    >>> found = audit(init, apply, x, jax.random.key(0), laws=[Law("normal", 1 / 64)] * 3)
    >>> [(row.equation, row.name) for row in found.faults], f"{found.faults[0].ratio:.1f}"
    ([(2, 'dot_general')], '1.7')
    """
    for name, function in {"init": init, "apply": apply}.items():
        if not callable(function):
            raise TypeError(f"`{name}` must be a function; got {function!r}")
    if reference is not None and not (len(reference) == 2 and all(map(callable, reference))):
        raise TypeError(f"`reference` must be a pair of functions (init, apply); got {reference!r}")
    checks.whole(FEWEST, seeds=seeds)
    checks.require(lambda p: (p >= 1e-3) & (p < 1), "`{}` must satisfy 0.001 <= {} < 1", level=level)
    checks.require(lambda t: t >= 0, "`{}` must satisfy {} >= 0", tolerance=tolerance)
    draws, sound, pooled, orders = jax.random.split(keys.typed(key), 4)
    meant_init, meant_apply = reference or (init, apply)
    params, given = laws_of(meant_init, pooled, laws)
    rows = predict.predict(meant_apply, params, x, laws=given, gradients=gradients).rows
    lawful = drawing(meant_init, given) if reference is None or laws is not None else meant_init
    pairs = [(i, i) for i in range(len(rows))]
    own, shapes = rows, params
    if reference is not None:
        shapes, own_laws = laws_of(init, pooled, None)
        own = predict.predict(apply, shapes, x, laws=varied(own_laws, given)).rows
        pairs = lined_up([_sign(row) for row in own], [_sign(row) for row in rows])
    common, places = [rows[j] for _, j in pairs], [own[i] for i, _ in pairs]
    mine = _held(apply, shapes, x, places, common)
    right = mine if reference is None else _held(meant_apply, params, x, common, common)
    measured = _measured(mine, init, x, jax.random.split(draws, seeds), gradients)
    expected = _measured(right, lawful, x, jax.random.split(sound, seeds), gradients)
    of = ("value", "gradient") if gradients else ("value",)
    here, there = (np.concatenate([side[name] for name in of], 1) for side in (measured, expected))
    z, limit = family(here, there, level, np.random.default_rng(np.asarray(jax.random.key_data(orders))))
    verdicts = _verdicts(mine.parents(), measured, expected, z, limit, tolerance)
    shown: list[AuditedRow] = []
    for name, of_rows, found in zip(of, np.split(z, len(of)), verdicts, strict=True):
        numbers = [i for i, _ in pairs]
        sizes = [row.second if name == "value" else row.gradient for row in common]
        shown += _rows(name, numbers, places, sizes, measured, expected, of_rows, found)
    lost = sorted(set(range(len(rows))) - {j for _, j in pairs})
    missing = tuple(f"not there: {rows[j].name} of the reference, {rows[j].line}" for j in lost)
    return Audit(tuple(shown), missing, seeds, level, limit, tolerance)


def _rows(
    of: str,
    numbers: Sequence[int],
    places: Sequence[predict.Row],
    sizes: Sequence[float],
    measured: Measured,
    expected: Measured,
    z: np.ndarray,
    verdicts: Sequence[str],
) -> list[AuditedRow]:
    """The rows of values, or of gradients, of those for which a size is predicted."""
    free = "free" if of == "value" else of
    ratios = _ratio(measured[of], expected[of])
    here, there = np.exp(measured[free]), np.exp(expected[free])
    with np.errstate(invalid="ignore"):  # there is no error of what is infinite
        errors = here.std(0, ddof=1) / math.sqrt(len(here))
    return [
        AuditedRow(
            equation=number,
            of=of,
            name=row.name,
            shape=row.shape,
            predicted=size,
            measured=float(size * here[:, k].mean()),
            error=float(size * errors[k]),
            sound=float(size * there[:, k].mean()),
            ratio=float(ratios[k]),
            z=float(z[k]),
            verdict=verdicts[k],
            line=row.line,
        )
        for k, (number, row, size) in enumerate(zip(numbers, places, sizes, strict=True))
        if not math.isnan(size)
    ]


def _verdicts(
    parents: Sequence[set[int]], measured: Measured, expected: Measured, z: np.ndarray, limit: float, tolerance: float
) -> list[list[str]]:
    """The verdicts of values, and of gradients where they were measured."""
    judge = partial(_judged, limit=limit, tolerance=tolerance)
    count = len(parents)
    values = judge(z[:count], measured["value"], expected["value"], parents)
    if "gradient" not in measured:
        return [values]
    children = [{c for c, above in enumerate(parents) if k in above} for k in range(count)]
    blamed = {k for k, verdict in enumerate(values) if verdict in (_audited.OFF, _audited.FOLLOWS)}
    return [values, judge(z[count:], measured["gradient"], expected["gradient"], children, blamed)]


def _sign(row: predict.Row) -> tuple[Any, ...]:
    """By what rows of two programs are told to be the same."""
    return row.name.rpartition("/")[2], row.shape


def _held(apply: Apply, params: Any, x: Any, places: Sequence[predict.Row], sizes: Sequence[predict.Row]) -> Held:
    """The program with rows at some places, and the sizes that they should have."""
    numbers = {(row.index, row.turn, row.output): k for k, row in enumerate(places)}
    moments = np.array([(row.second, row.gradient) for row in sizes], np.float64).reshape(-1, 2).T
    roots = np.sqrt(np.where((moments > 0) & np.isfinite(moments), moments, np.nan))
    return Held(jax.make_jaxpr(apply)(params, x), numbers, *roots)


def _measured(held: Held, init: Init, x: Any, seeds: jax.Array, gradients: bool) -> Measured:
    """What `Held.measure` says of each draw, ``[draws, rows]``; one after another, in the memory of one."""
    draw, data = jax.jit(init), jax.tree.leaves(x)
    runs = [
        held.compiled([*jax.tree.leaves(draw(key)), *data], jax.random.fold_in(key, 2) if gradients else None)
        for key in seeds
    ]
    return {name: np.stack([run[name] for run in runs]).astype(np.float64) for name in runs[0]}


def _ratio(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # of what is not finite on both sides
        return np.asarray(np.exp(here).mean(0) / np.exp(there).mean(0))


def _judged(
    z: np.ndarray,
    here: np.ndarray,
    there: np.ndarray,
    before: Sequence[set[int]],
    blamed: Collection[int] = (),
    *,
    limit: float,
    tolerance: float,
) -> list[str]:
    """A verdict for each row; ``before`` are rows whose sizes went in, ``blamed`` those that explain what is off."""
    stuck = np.any((here <= LEAST) | np.isinf(here), 0)
    off = (np.abs(z) > limit) & ~(np.abs(_ratio(here, there) - 1) <= tolerance)
    verdicts = []
    for k, above in enumerate(before):
        follows = any(stuck[j] or j in blamed for j in above)
        found = (_audited.FOLLOWS if follows else _audited.OFF) if off[k] else _audited.AS_PREDICTED
        verdicts.append(_audited.UNTESTED if np.isnan(z[k]) else found)
    return verdicts
