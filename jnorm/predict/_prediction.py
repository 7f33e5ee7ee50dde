"""What is predicted: rows, and what is asked of them."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jnorm.jaxprs import Line
from jnorm.predict import _display, _findings, _formats
from jnorm.predict._formats import FORMATS, Formats
from jnorm.predict._sizes import Sizes


@dataclasses.dataclass(frozen=True)
class Gradient:
    """A gradient over random parameters, for independent normal cotangents of the output.

    Attributes:
        second: The mean of its square.
        spread: The standard deviation of the logarithm of ``mean g^2`` in a single draw.
        sizes: The law of its size.
    """

    second: float
    spread: float
    sizes: Sizes | None = dataclasses.field(default=None, repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Row:
    """What an equation computes, over random parameters.

    Attributes:
        name: The module where there is one, and the operation.
        shape: Of the value.
        mean: Its mean, over units, examples and positions.
        second: The mean of its square.
        correlation: ``E[v v'] / sqrt(E[v^2] E[v'^2])`` of two examples at the same position, averaged; of two
            positions where there is one example; NaN where there is one of both.
        gradient: The mean squared gradient at the value, where it was asked for; NaN inside of branches and custom
            derivatives.
        line: The user's line.
        status: ``"exact"``, ``"gaussian"`` (in the limit of wide layers), ``"sampled"`` (from samples of units) or
            ``"marked: few units"`` (it has fewer than 64 units, or averages over so few are in it, which scatter).
        spread: The standard deviation of ``log(mean v^2)`` in a single draw of the parameters, to first order in
            depth / width; NaN where an operation is passed on of which it is not known. In chains of activations with
            a mean its square is up to a quarter too large in six layers of gelu; of attention it is a rough guess.
        dtype: The value's.
        sizes: The law of its size, of which `Prediction.formats` is made.
        gradient_law: The gradient with its spread and sizes, where it was asked for.
        index: The equation's place in the program, as that of a `jnorm.jaxprs.Site`.
        turn: How often the equation had been computed before, where there is a loop around it.
        output: Which of its outputs it is.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    second: float
    correlation: float
    gradient: float
    line: Line | None
    status: str
    spread: float = math.nan
    dtype: str = "float32"
    sizes: Sizes | None = dataclasses.field(default=None, repr=False, compare=False)
    gradient_law: Gradient | None = dataclasses.field(default=None, repr=False, compare=False)
    index: tuple[int, ...] = ()
    turn: int = 0
    output: int = 0

    def interval(self, deviations: float = 2.0) -> tuple[float, float]:
        """Where ``mean v^2`` of a single draw lies, as a lognormal law whose expectation is `second`.

        Args:
            deviations: How many standard deviations of the logarithm on both sides.

        Returns:
            The two ends.
        """
        center, reach = -(self.spread**2) / 2, deviations * self.spread
        return self.second * math.exp(center - reach), self.second * math.exp(center + reach)


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Rows in the order of computation; prints as a table of 100 columns, with what is wrong and its repair below.

    Attributes:
        rows: One for each equation that matters.
        slopes: The gradient by each parameter, where it was asked for.
        updates: Of each parameter the root mean square of the first update, over that of its numbers, where there is an
            optimizer; infinite where these are zeros.
    """

    rows: tuple[Row, ...]
    slopes: dict[str, Gradient] = dataclasses.field(default_factory=dict)
    updates: dict[str, float] = dataclasses.field(default_factory=dict)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    @property
    def parameters(self) -> dict[str, float]:
        """The mean squared gradient by each parameter, where it was asked for."""
        return {name: slope.second for name, slope in self.slopes.items()}

    @property
    def findings(self) -> tuple[str, ...]:
        """What is wrong, where, and what would repair it; empty where nothing is."""
        return _findings.findings(self)

    def formats(self, dtypes: Sequence[Any] = FORMATS, *, gradient_scale: float = 1.0) -> Formats:
        """What overflows, loses digits or vanishes if every value were stored in these formats, rounded to the nearest.

        Args:
            dtypes: Floating dtypes of JAX, or their names.
            gradient_scale: What gradients are multiplied with: the size of the cotangents of a loss, ``1 / batch`` for
                a mean over examples, times the loss scale.

        Returns:
            A row for each value, and where gradients were asked for one for each of them.

        Raises:
            ValueError: A dtype that is not floating, none at all, or a scale that is not positive and finite.

        >>> import jax.numpy as jnp
        >>> from jnorm.predict import Law, predict
        >>> prediction = predict(lambda w, x: x @ w, jnp.zeros((4, 64)), jnp.ones((1, 4)), laws=Law("normal", 1e8))
        >>> formats = prediction.formats()  # of N(0, 4e8)
        >>> {dtype: f"{risk.overflow:.1e}" for dtype, risk in formats.rows[0].risks.items() if risk.overflow}
        {'float16': '1.1e-03', 'float8_e4m3fn': '9.8e-01', 'float8_e5m2': '2.1e-03'}
        """
        return _formats.table(self._laws(), dtypes, gradient_scale)

    def _laws(self) -> list[tuple[str, str, Any, Sizes | None]]:
        values = [(row.name, "value", row.line, row.sizes) for row in self.rows]
        at = [(row.name, "gradient", row.line, row.gradient_law.sizes) for row in self.rows if row.gradient_law]
        return [*values, *at, *((name, "parameter", None, slope.sizes) for name, slope in self.slopes.items())]

    def to_pandas(self) -> Any:
        """The rows as a table for pandas.

        Returns:
            A ``pandas.DataFrame`` with the columns ``name, shape, dtype, mean, second, spread, correlation, gradient,
            gradient_spread, status, file, line``.

        Raises:
            ModuleNotFoundError: without pandas (extra ``analysis``).
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise ModuleNotFoundError('to_pandas needs pandas: pip install "jnorm[analysis]"', name="pandas") from None
        plain = ("name", "shape", "dtype", "mean", "second", "spread", "correlation", "gradient")
        columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in self.rows] for name in plain}
        columns["gradient_spread"] = [row.gradient_law.spread if row.gradient_law else np.nan for row in self.rows]
        columns["status"] = [row.status for row in self.rows]
        columns["file"] = [row.line.file if row.line else "" for row in self.rows]
        columns["line"] = [row.line.number if row.line else 0 for row in self.rows]
        return pandas.DataFrame(columns)

    def __str__(self) -> str:
        return _display.text(self)

    def _repr_html_(self) -> str:
        return _display.markup(self)
