"""What a loss says of outputs that are made up: whatever its code looks like, this tells what it does."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

RIGHT, FLOOR = 0.9, 0.05


class Outcomes:
    """The loss of outputs that are made up.

    Attributes:
        outputs: The model's, for the batch, as a NumPy array.
        targets: The batch's.
        perfect: Outputs that are right, as far as shapes and dtypes say what that is: targets, or nearly one at the
            label and small elsewhere, which is right for logits, for probabilities and for values. Else None.
    """

    def __init__(
        self, loss: Callable[[Any, Any], jax.Array], outputs: jax.Array, targets: Any, rng: np.random.Generator
    ) -> None:
        self._loss, self._rng, self._dtype = loss, rng, outputs.dtype
        self.outputs, self.targets = np.asarray(outputs, np.float64), np.asarray(targets)
        self.perfect = perfect(self.targets, self.outputs.shape)

    def of(self, *outputs: Any, targets: Any = None) -> np.ndarray:
        """The losses of several outputs, NaN where the loss has none."""
        given = jnp.asarray(self.targets if targets is None else targets)
        stacked = jnp.asarray(np.stack(outputs), self._dtype)
        return np.asarray(jax.jit(jax.vmap(self._loss, (0, None)))(stacked, given), np.float64)

    def leaves_out(self, rows: np.ndarray) -> bool:
        """Whether the loss has no derivative by the outputs of these rows, of a mask over examples."""
        slope = jax.jit(jax.grad(lambda o: self._loss(o, jnp.asarray(self.targets))))
        found = np.asarray(slope(jnp.asarray(self.outputs, self._dtype)), np.float64)
        return bool(rows.any()) and bool((found[rows] == 0).all())

    @cached_property
    def mixed(self) -> np.ndarray | None:
        """Rows by which every example gets another target, for as many as can; None where targets are all the same."""
        keys = self.targets.reshape(len(self.targets), -1).astype(np.float64)
        order = np.lexsort(keys.T[::-1])
        rows = np.empty(len(order), int)
        rows[order] = np.roll(order, len(order) // 2)
        return rows if bool((keys[rows] != keys).any()) else None

    @cached_property
    def _many(self) -> dict[str, float]:
        """All that need the same program, in one call."""
        shape = self.outputs.shape
        noise = self._rng.normal(size=(2, *shape))
        rows = self._rng.normal(size=(*shape[:-1], 1)) if len(shape) > 1 else np.zeros(shape)
        made = {"own": self.outputs, "shifted": self.outputs + 2 * rows, "noise": noise[0], "more noise": noise[1]}
        if self.perfect is not None:
            wrong = self.perfect[self.mixed] if self.mixed is not None else self.perfect
            made |= {"right": self.perfect, "wrong": wrong}
            made |= {"very right": 64 * self.perfect, "very wrong": 64 * wrong}
        for name, value in constants(self.targets, shape).items():
            made[f"constant {name}"] = np.broadcast_to(value, shape)
        return dict(zip(made, self.of(*made.values()).tolist(), strict=True))

    def __getitem__(self, name: str) -> float:
        return self._many.get(name, np.nan)

    @cached_property
    def constant(self) -> float:
        """The smallest loss that was found of outputs that are the same for every example."""
        found = [value for name, value in self._many.items() if name.startswith("constant") and np.isfinite(value)]
        return min(found, default=np.nan)

    @cached_property
    def takes_logits(self) -> bool:
        """Whether a number added to all classes of an example changes nothing: the loss applies softmax itself."""
        if self.outputs.ndim < 2 or self.outputs.shape[-1] < 2:
            return False
        apart = abs(self["own"] - self["shifted"])
        moves = abs(self["noise"] - self["more noise"]) > 1e-4 * abs(self["noise"])
        return bool(apart <= 1e-3 * abs(self["own"]) + 1e-6 and moves)

    @cached_property
    def takes_binary_logits(self) -> bool:
        """Whether it is ``softplus(z) - t z``, times any number: the loss applies the sigmoid itself."""
        targets = fitted(self.targets, self.outputs.shape)
        if targets is None:
            return False
        z = np.stack([self._rng.normal(size=self.outputs.shape) for _ in range(2)]) * 2
        expected = (np.logaddexp(0, z) - targets * z).reshape(2, -1).mean(1)
        ratio = self.of(*z) / expected
        return bool(np.isfinite(ratio).all() and ratio[0] != 0 and abs(ratio[1] / ratio[0] - 1) < 1e-3)

    @cached_property
    def mixes(self) -> float:
        """How far the derivative by the first example's outputs turns where those of all others change: a sine."""
        first, others = self._rng.normal(size=(2, *self.outputs.shape))
        others[0] = first[0]
        slope = jax.jit(jax.vmap(jax.grad(lambda o: self._loss(o, jnp.asarray(self.targets)))))
        found = slope(jnp.asarray(np.stack([first, others]), self._dtype))
        rows = np.asarray(found, np.float64)[:, 0].reshape(2, -1)
        sizes = np.sqrt((rows**2).sum(1))
        if not (np.isfinite(sizes).all() and sizes.all()):
            return 0.0
        return float(np.sqrt(max(1 - (rows[0] @ rows[1] / sizes.prod()) ** 2, 0.0)))

    @cached_property
    def doubling(self) -> float:
        """The loss of every example twice over that of every example once: 1 of a mean, 2 of a sum."""
        twice = lambda a: np.concatenate([a, a])
        noise = self._rng.normal(size=self.outputs.shape) if np.isfinite(self["noise"]) else self.outputs
        once = float(self.of(noise)[0])
        return float(self.of(twice(noise), targets=twice(self.targets))[0]) / once if once else np.nan


def fitted(targets: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The targets as numbers in the shape of the outputs, if they have one for every output."""
    if targets.dtype.kind not in "biuf" or targets.size != int(np.prod(shape)):
        return None
    if targets.shape != shape and (*targets.shape, 1) != shape and targets.shape != (*shape, 1):
        return None
    return targets.reshape(shape).astype(np.float64)


def labels(targets: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """The targets as numbers of classes, if that is what they are beside outputs of a shape."""
    if targets.dtype.kind not in "iu" or targets.shape != shape[:-1] or not shape or shape[-1] < 2:
        return None
    return targets


def one_hot(targets: np.ndarray, shape: tuple[int, ...]) -> bool:
    """Whether targets are rows of zeros with a one, or of probabilities, for most examples."""
    if targets.shape != shape or len(shape) < 2 or shape[-1] < 2 or targets.dtype.kind not in "biuf":
        return False
    sums = targets.astype(np.float64).sum(-1)
    return bool((targets >= 0).all() and np.mean(np.abs(sums - 1) < 1e-3) > 0.5)


def perfect(targets: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Outputs that are right; see `Outcomes`."""
    classes = labels(targets, shape)
    if classes is not None:
        inside = (classes >= 0) & (classes < shape[-1])
        rows = np.eye(shape[-1])[np.where(inside, classes, 0)] * inside[..., None]
        return RIGHT * rows + FLOOR
    numbers = fitted(targets, shape)
    if numbers is None or not np.isfinite(numbers).all():
        return None
    return RIGHT * numbers + FLOOR if set(np.unique(numbers)) <= {0.0, 1.0} else numbers


def constants(targets: np.ndarray, shape: tuple[int, ...]) -> dict[str, Any]:
    """Outputs for all examples that a usual loss cannot better: means, frequencies and their logits."""
    found: dict[str, Any] = {"zero": 0.0}
    right = perfect(targets, shape)
    if right is None:
        return found
    numbers = fitted(targets, shape)
    if numbers is None or one_hot(targets, shape):
        rows = (right - FLOOR) / RIGHT if numbers is None else numbers
        share = rows.reshape(-1, shape[-1]).mean(0) + 1e-4
        return found | {"frequencies": share / share.sum(), "logits": np.log(share)}
    mean = numbers.mean(0)
    found["mean"] = mean
    if (mean >= 0).all() and (mean <= 1).all():
        inside = np.clip(mean, 1e-4, 1 - 1e-4)
        found["logit"] = np.log(inside / (1 - inside))
    return found
