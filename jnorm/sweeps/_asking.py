"""Optuna chooses, sweeps run: a study over a space, asked for batches of configurations and told their scores."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.typing import ArrayLike

from jnorm.sweeps._configurations import Configuration, describe, expand, sort_key
from jnorm.sweeps._numbers import whole_number
from jnorm.sweeps._ranges import Range
from jnorm.sweeps._spaces import Space, checked_space, scores_of

_PLAIN = bool | int | float | str
_TRIES = 3  # times that as many are asked for as are wanted, where a study suggests what it suggested before


class AskTell(NamedTuple):
    """What drives a search: it is asked for configurations, and told what they scored.

    Attributes:
        ask: ``ask(count)`` returns configurations, a value by name each.
        tell: ``tell(configurations, scores)`` takes a number for each of them, NaN where a run diverged.
    """

    ask: Callable[[int], list[Configuration]]
    tell: Callable[[Sequence[Configuration], ArrayLike], None]


class _Dimension(NamedTuple):
    """A hyperparameter as Optuna has it.

    Attributes:
        name: of Optuna's parameter.
        distribution: an Optuna distribution.
        value: what the sweep gets for what Optuna suggests.
    """

    name: str
    distribution: Any
    value: Callable[[Any], Any]


def from_optuna(study: Any, space: Space) -> AskTell:
    """The pair ``ask(count)``, ``tell(configurations, scores)`` by which an Optuna study searches a space.

    A batch is one sweep. Where all have as many configurations and `jnorm.sweeps.sweep` is given its ``chunk``, only
    the first one is compiled, and later ones for ``static`` values that have not occurred before. A study that is asked
    for a batch does not know the scores within it; before release 5 of Optuna, ``TPESampler(constant_liar=True)`` keeps
    it from suggesting much the same. What it suggests twice is run once, and both trials get the score; it is then
    asked again, so that a batch has ``count`` configurations if the study finds as many.

    Optuna sees a `one_minus_log_uniform` range as the logarithmic one of ``1 - NAME``, and choices that are not
    numbers, texts, booleans or None by the text that a sweep writes down for them. Trials of NaN fail, which Optuna
    leaves out of account; give the worst score that there can be instead where divergence should count.

    Args:
        study: what ``optuna.create_study`` returns, for one objective; its direction says which scores are best, its
            storage whether the search survives.
        space: ranges and choices by name.

    Returns:
        The pair. Configurations may be told in any order, and in any number of parts.

    Raises:
        ImportError: Optuna is not installed.
        ValueError: the space is empty or a part of it is; from ``tell``, scores that are not one for each
            configuration, or a configuration that nobody has asked for or that was told before.
        TypeError: the study is none, or the space no mapping of names to ranges and sequences.

    Source: Akiba et al. (2019), Optuna: a next-generation hyperparameter optimization framework.

    >>> import jax
    >>> import optuna
    >>> from jnorm.sweeps import sweep
    >>> from jnorm.sweeps.search import log_uniform
    >>> def train(key, rate):  # best at a rate of 1/100
    ...     return {"loss": jax.numpy.log10(100 * rate) ** 2 + 0.01 * jax.random.normal(key)}
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    >>> ask, tell = from_optuna(study, {"rate": log_uniform(1e-5, 1.0)})
    >>> for _ in range(5):
    ...     result = sweep(train, seeds=3, grid=ask(8), chunk=24)
    ...     tell(result.configurations, result["loss"].mean(1))
    >>> 1 / 200 < study.best_params["rate"] < 1 / 50
    True
    """
    from optuna import distributions
    from optuna.trial import TrialState

    if not (callable(getattr(study, "ask", None)) and callable(getattr(study, "tell", None))):
        raise TypeError(f"`study` must be an Optuna study, such as optuna.create_study(); got {study!r}")
    dimensions = {name: _dimension(name, values, distributions) for name, values in checked_space(space).items()}
    suggested = {dimension.name: dimension.distribution for dimension in dimensions.values()}
    waiting: dict[str, list[Any]] = {}

    def ask(count: int) -> list[Configuration]:
        count = whole_number("count", count)
        found: dict[str, Configuration] = {}
        for _ in range(_TRIES * count):
            trial = study.ask(suggested)
            configuration = {name: d.value(trial.params[d.name]) for name, d in dimensions.items()}
            waiting.setdefault(sort_key(configuration), []).append(trial)
            found.setdefault(sort_key(configuration), configuration)
            if len(found) == count:
                break
        return list(found.values())

    def tell(configurations: Sequence[Configuration], scores: ArrayLike) -> None:
        numbers = scores_of(scores, len(configurations))
        for configuration in configurations:
            if sort_key(configuration) not in waiting:
                raise ValueError(f"`configurations` must have been asked for, and not told yet; got {configuration}")
        for configuration, score in zip(configurations, numbers.tolist(), strict=True):
            for trial in waiting.pop(sort_key(configuration)):
                if np.isnan(score):
                    study.tell(trial, state=TrialState.FAIL)
                else:
                    study.tell(trial, score)

    return AskTell(ask, tell)


def _dimension(name: str, values: Range | Sequence[Any], known: Any) -> _Dimension:
    """A range or choices as one of the ``known`` distributions of Optuna."""
    if not isinstance(values, Range):
        choices = [configuration[name] for configuration in expand({name: values})]
        texts: Mapping[Any, Any] = {_plain(value): value for value in choices}
        if len(texts) < len(choices):  # True is 1 for Python
            texts = {repr(value): value for value in choices}
        return _Dimension(name, known.CategoricalDistribution(list(texts)), texts.__getitem__)
    low, high, scale, whole = values
    if whole:
        return _Dimension(name, known.IntDistribution(low, high, log=scale == "log"), int)
    if scale != "one_minus_log":
        return _Dimension(name, known.FloatDistribution(low, high, log=scale == "log"), float)
    inside = lambda distance: min(max(1 - distance, low), high)
    return _Dimension(f"1 - {name}", known.FloatDistribution(1 - high, 1 - low, log=True), inside)


def _plain(value: Any) -> Any:
    """A choice as Optuna can store it."""
    return value if value is None or isinstance(value, _PLAIN) else str(describe(value))
