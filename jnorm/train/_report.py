"""What a training reports."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from jnorm._ground import checks


class Step(NamedTuple):
    """What a probe sees of a step.

    Attributes:
        params: The parameters before the step.
        state: The network's state before it.
        batch: Inputs, augmented, and targets.
        key: What the network draws its dropout from; the i-th of several microbatches by ``fold_in(key, i)``.
        loss: The mean loss of the batch.
        gradient: The gradient as the optimizer gets it, penalty included.
        updates: What is added to the parameters.
        optimizer_state: The optimizer's state after the step.
    """

    params: Any
    state: Any
    batch: tuple[Any, Any]
    key: jax.Array
    loss: jax.Array
    gradient: Any
    updates: Any
    optimizer_state: Any


@dataclass(frozen=True)
class Report:
    """What a training returns, under which names.

    Attributes:
        parts: Parts of the data that are evaluated at the end: ``"<part>_loss"`` and ``"<part>_<metric>"``, numbers.
            None: all but train.
        curves: Parts that are evaluated after each epoch: ``"curve_<part>_loss"`` and ``"curve_<part>_<metric>"``
            [epochs].
        steps: Of "loss", "gradient_norm" and "skipped", what is reported of each step: ``"step_loss"``,
            ``"step_gradient_norm"`` and ``"step_skipped"`` [steps]. Loss and norm are those before the step; the norm
            is that of the whole gradient, penalty included, as the optimizer gets it; a step is skipped where the
            network's state stayed as it was, as the optimizer refused the step or the new state is not finite. A
            function ``probe(step)`` of a `Step` returns a dictionary of arrays: ``"step_<name>"`` [steps, ...].
        probe: ``probe(params, state)``, a dictionary of arrays, is reported after each epoch: ``"probe_<name>"``
            [epochs, ...].
        every: Curves and the probe are taken after every so many epochs alone, which saves their time and memory: row
            i, of ``epochs // every``, is that after ``(i + 1) every`` epochs. Not with ``stop``, which judges each.
        keep_params: Whether the trees ``"params"`` and ``"state"`` are returned.
        keep_carry: Whether ``"carry"`` is returned, the `Carry` after the last epoch with the optimizer's state, from
            which a training goes on.

    Raises:
        ValueError: An unknown name in ``steps``; ``every`` is not a whole number >= 1.
        TypeError: A string where there should be several.

    >>> Report(curves=["dev"], steps=["loss"]).keep_params
    False
    """

    parts: Collection[str] | None = None
    curves: Collection[str] = ()
    steps: Collection[str | Callable[[Step], Mapping[str, jax.Array]]] = ()
    probe: Callable[[Any, Any], Mapping[str, jax.Array]] | None = None
    every: int = 1
    keep_params: bool = False
    keep_carry: bool = False

    def __post_init__(self) -> None:
        checks.whole(1, every=self.every)
        for name in ("parts", "curves", "steps"):
            if isinstance(value := getattr(self, name), str):
                raise TypeError(f"`{name}` must be a list of names; got the string {value!r}")
        if callable(self.steps):
            raise TypeError(f"`steps` must be a list of names and functions; got {self.steps!r}: put it in a list")
        for reported in self.steps:
            if not callable(reported):
                checks.choice("steps", reported, ("loss", "gradient_norm", "skipped"))
