"""What is wrong with a prediction, where, and what would repair it."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from jnorm.predict._choice import CONTRACTIONS
from jnorm.predict._formats import risk

STEADY = math.log(1.02)  # a change a layer that counts
WHOLE = math.log(4.0)  # a change over a run of layers that is told
ALIKE = 0.99
WIDE = 0.5  # of the logarithm of a mean square
RARE, MANY = 1e-6, 0.01  # of numbers that overflow, and that vanish
HALF = ("float16", "bfloat16")


def findings(prediction: Any) -> tuple[str, ...]:
    """Sentences of one line each."""
    rows = [row for row in prediction.rows if row.name.rpartition("/")[2] in CONTRACTIONS]
    signal = _run(rows, [row.second for row in rows])
    slopes = _run(rows[::-1], [row.gradient for row in rows[::-1]])
    found = []
    if signal:
        first, last, ratio = signal
        found.append(f"the signal {_words(ratio)} a layer from {_at(first)} on, to {last.second:.1e}: {_depth(ratio)}")
    if slopes:
        first, last, ratio = slopes
        how = f"{_words(ratio, many=True)} a layer back from {_at(first)}"
        found.append(f"gradients {how}, to {last.gradient:.1e}: {_depth(ratio)}")
    found += _alike(rows)
    found += [text for dtype in HALF if (text := _lost(prediction, dtype))]
    found += _strays(prediction)
    if signal or slopes:
        by = "" if not slopes else ', by="gradients"' if not signal else ', by="both"'
        ratio = (signal or slopes)[2]  # type: ignore[index]
        found.append(f"repair: jnorm.predict.gains(apply, params, x{by}), a factor near {ratio**-0.5:.3g} a weight")
    return tuple(found)


def _run(rows: Sequence[Any], values: Sequence[float]) -> tuple[Any, Any, float] | None:
    """The run of three layers or more over which values change most, all one way: its ends and its rate a layer."""
    usable = [0 < value < math.inf for value in values]
    steps = [math.log(b / a) if usable[i] and usable[i + 1] else 0.0 for i, (a, b) in enumerate(_pairs(values))]
    best: tuple[float, int, int] | None = None
    start = 0
    for i in range(len(steps) + 1):
        goes_on = i < len(steps) and abs(steps[i]) > STEADY and (i == start or steps[i] * steps[start] > 0)
        if goes_on:
            continue
        total = abs(sum(steps[start:i]))
        if i - start >= 3 and total > WHOLE and (best is None or total > best[0]):
            best = total, start, i
        start = i if i < len(steps) and abs(steps[i]) > STEADY else i + 1
    if best is None:
        return None
    _, a, b = best
    return rows[a], rows[b], math.exp(sum(steps[a:b]) / (b - a))


def _pairs(values: Sequence[float]) -> list[tuple[float, float]]:
    return list(itertools.pairwise(values))


def _words(ratio: float, *, many: bool = False) -> str:
    s = "" if many else "s"
    for low, high, verb in ((0.48, 0.52, "halve"), (1.94, 2.06, "double")):
        if low < ratio < high:
            return verb + s
    return f"grow{s} {ratio:.3g}" if ratio > 1 else f"fall{s} {ratio:.3g}"


def _depth(ratio: float) -> str:
    return f"e-fold depth {1 / abs(math.log(ratio)):.2g}"


def _at(row: Any) -> str:
    """The place as a reader finds it."""
    module = row.name.rpartition("/")[0] or row.name
    return f"{module}, {row.line.file.rpartition('/')[2]}:{row.line.number}" if row.line else module


def _alike(rows: Sequence[Any]) -> list[str]:
    told = [row for row in rows if math.isfinite(row.correlation)]
    late = next((row for row in told if row.correlation > ALIKE), None)
    if late is None or told[0].correlation > (1 + ALIKE) / 2 or told[-1].correlation < ALIKE:
        return []
    start, end = told[0].correlation, told[-1].correlation
    where = f"above {ALIKE} from {_at(late)} on"
    return [f"examples become alike: correlation {start:.2f} at first, {where}, {end:.4f} at last"]


def _lost(prediction: Any, dtype: str) -> str:
    """What of values a format of half precision loses; that of gradients hangs on their scale."""
    risks = [(risk(row.sizes, dtype), row) for row in prediction.rows if row.sizes is not None]
    words = []
    for what, least in (("overflow", RARE), ("flush", MANY)):
        p, row = max(((getattr(r, what), row) for r, row in risks), key=lambda pair: pair[0], default=(0.0, None))
        if p > least:
            verb = "overflows" if what == "overflow" else "becomes zero"
            words.append(f"{p:.2g} of {_at(row)} {verb}")
    return f"{dtype}: {'; '.join(words)}" if words else ""


def _strays(prediction: Any) -> list[str]:
    wide = next((row for row in prediction.rows if row.spread > WIDE), None)
    found = []
    if wide is not None:
        most = max(row.spread for row in prediction.rows if math.isfinite(row.spread))
        how = f"from {_at(wide)} on, by a factor of {math.exp(most):.2g} at most"
        found.append(f"single draws stray {how}: too deep for its width")
    lost = next((row for row in prediction.rows if math.isnan(row.spread)), None)
    if lost is not None:
        found.append(f"how far single draws stray is not known from {_at(lost)} on")
    marked = [row for row in prediction.rows if row.status.startswith("marked")]
    if marked:
        found.append(f"{len(marked)} row{'s' * (len(marked) > 1)} of fewer than 64 units, the first {_at(marked[0])}")
    return found
