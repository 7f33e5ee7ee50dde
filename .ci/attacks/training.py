"""Attacks on training, whole: ``python .ci/attacks/training.py [TRAININGS] [SEED]``.

Random combinations of sizes, batches, microbatches, orders, budgets, batch norm, optimizers, schedules and early
stopping, each alone and as three lanes, with other rates, penalties and clipping in each, against a training in NumPy
with the chain rule by hand. Adam multiplies rounding where a gradient nearly vanishes, and a step taken by a hair stops
early or not: a difference is judged beside what one rounding of the initial parameters does to the training in NumPy.
Prints what was counted, and ends with 1 where a difference is above 1e-12 and above thirty times that.
"""

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import numpy as np

from tests.train import test_reference as laws
from tests.train.reference import Settings

EPS = np.finfo(float).eps


def settings(rng):
    """A combination that a trainer accepts."""
    size, accumulate = int(rng.integers(3, 31)), int(rng.choice([1, 1, 2, 3]))
    batch = accumulate * int(rng.integers(1, max(2, size // accumulate + 1)))
    while batch > size:
        batch -= accumulate
    drop, norm = bool(rng.random() < 0.2), bool(rng.random() < 0.6)
    wait = int(rng.integers(0, 3)) if rng.random() < 0.4 else None
    epochs, an_epoch = (8 if wait is not None else 3), size // batch if drop else -(-size // batch)
    steps = int(rng.integers(1, epochs * an_epoch + 1)) if wait is None and rng.random() < 0.2 else None
    return Settings(
        size,
        batch,
        epochs=epochs if steps is None else -(-steps // an_epoch),
        steps=steps,
        accumulate=accumulate,
        drop=drop,
        order=str(rng.choice(["reshuffled", "fixed", "given"])),
        norm=norm,
        running=not norm or bool(rng.random() < 0.8),
        optimizer=str(rng.choice(["momentum", "adam"])),
        schedule=str(rng.choice(["constant", "inverse time", "cosine"])),
        wait=wait,
        tol=float(rng.choice([0.0, 1e-4, 0.02])),
    )


def deviation(got, exact):
    """The largest difference of any number, over the larger of its size and one; infinite where NaN differ."""
    got, exact = np.asarray(got, float), np.asarray(exact, float)
    if got.shape != exact.shape or (np.isnan(got) != np.isnan(exact)).any():
        return np.inf
    return float(np.nan_to_num(abs(got - exact) / np.maximum(1, abs(exact))).max(initial=0))


def differences(s, rng):
    """Of each lane and of the run alone: the largest difference, and what a rounding of the start makes of one."""
    parts, train = laws.parts_of(s), laws.trainer(s)
    one = lambda key, rate, l2, clip: train(key, parts, rate=rate, l2=l2, clip=clip)
    lanes = laws.KEYS, laws.RATES, laws.L2, laws.CLIPS
    many, single = jax.jit(lambda *lanes: (jax.vmap(one)(*lanes), one(*(v[0] for v in lanes))))(*lanes)
    rounded = lambda params: {k: v * (1 + rng.choice([-EPS, EPS], v.shape)) for k, v in params.items()}
    for lane, got in [*((i, jax.tree.map(lambda a, i=i: a[i], many)) for i in range(3)), (0, single)]:
        exact = laws.by_hand(s, lane, parts)
        moved = [laws.by_hand(s, lane, parts, rounded) for _ in range(3)]
        yield largest(got, exact), max(largest(run, exact) for run in moved)


def largest(got, exact):
    """The largest deviation among all results."""
    return max(
        deviation(mine, theirs)
        for name, value in exact.items()
        for mine, theirs in zip(*(_parts(run, value) for run in (got[name], value)), strict=True)
    )


def _parts(result, like):
    """The arrays of a result, in the order of its counterpart."""
    if isinstance(like, dict):
        return [result[name] for name in like]
    return list(result) if isinstance(like, tuple) else [result]


def main(count, seed):
    """The exit status."""
    rng, worst, wrong, seen = np.random.default_rng(seed), [0.0, 0.0], [], Counter()
    with jax.enable_x64(True):
        for _ in range(count):
            s = settings(rng)
            for found, moved in differences(s, rng):
                worst = max(worst, [found, moved])
                if found > 1e-12 and found > 30 * moved:
                    wrong.append(f"{found:.1e}, a rounding of the start {moved:.1e}: {s}")
            seen.update(
                name if value is True else f"{name} {value}"
                for name, value in asdict(s).items()
                if name not in ("size", "batch", "epochs", "steps", "tol") and value not in (False, None)
            )
            seen.update({"a rest": s.size % s.batch > 0, "a budget in steps": s.steps is not None})
            laws.drawn.cache_clear()
            jax.clear_caches()
    print(f"{count} trainings, each alone and as three lanes: {len(wrong)} differ by more than rounding; the largest")
    print(f"difference is {worst[0]:.1e}, where a rounding of the start makes one of {worst[1]:.1e}")
    print(", ".join(f"{name}: {times}" for name, times in sorted(seen.items())))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, [*sys.argv[1:], *["60", "0"][len(sys.argv) - 1 :]])))
