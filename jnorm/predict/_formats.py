"""Number formats: what of a value overflows, loses digits or vanishes in each of them."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jnorm.predict._sizes import Sizes

FORMATS = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")


class Risk(NamedTuple):
    """Probabilities for a number of a value, over parameters, units, examples and positions.

    Attributes:
        overflow: That it rounds to no finite number.
        underflow: That it is not zero and below the smallest normal number, where digits are lost; what hardware that
            has no subnormal numbers makes zero.
        flush: That it is not zero and rounds to zero.
    """

    overflow: float
    underflow: float
    flush: float


class Limits(NamedTuple):
    """Of a format: the least ``|v|`` that overflows, the least that is normal, and the largest that rounds to zero."""

    overflow: float
    normal: float
    flush: float


def limits(dtype: Any) -> Limits:
    """Those of a floating dtype, with rounding to the nearest."""
    try:
        kind = jnp.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or not jnp.issubdtype(kind, jnp.floating):
        raise ValueError(f"`dtype` must be a floating dtype such as {', '.join(map(repr, FORMATS))}; got {dtype!r}")
    info = jnp.finfo(kind)
    largest, spacing = float(info.max), float(info.eps)
    return Limits(
        largest + spacing * 2.0 ** np.floor(np.log2(largest)) / 2,
        float(info.smallest_normal),
        float(info.smallest_subnormal) / 2,
    )


def risk(sizes: Sizes, dtype: Any, scale: float = 1.0) -> Risk:
    """The risk of a value that is multiplied with a scale."""
    ends = limits(dtype)
    return Risk(sizes.above(ends.overflow / scale), sizes.below(ends.normal / scale), sizes.below(ends.flush / scale))


@dataclasses.dataclass(frozen=True)
class FormatRow:
    """A value, or a gradient, in every format.

    Attributes:
        name: That of the row, or of the parameter.
        kind: ``"value"``, ``"gradient"`` (at the value) or ``"parameter"`` (the gradient by it).
        line: The user's line.
        risks: By the name of the format.
    """

    name: str
    kind: str
    line: Any
    risks: dict[str, Risk]


@dataclasses.dataclass(frozen=True)
class Formats:
    """Risks row by row; prints as a table of 100 columns, of those above a millionth.

    Attributes:
        rows: Values, then gradients.
        dtypes: Names of the formats.
    """

    rows: tuple[FormatRow, ...]
    dtypes: tuple[str, ...]

    def __iter__(self) -> Iterator[FormatRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def worst(self, dtype: str, what: str, kind: str = "value") -> tuple[float, FormatRow | None]:
        """The largest probability of a format, and the row that has it.

        Args:
            dtype: One of `dtypes`.
            what: ``"overflow"``, ``"underflow"`` or ``"flush"``.
            kind: That of the rows.

        Returns:
            The two; 0 and ``None`` where there are no rows.
        """
        rows = [row for row in self.rows if row.kind == kind]
        found = max(rows, key=lambda row: getattr(row.risks[dtype], what), default=None)
        return (0.0, None) if found is None else (getattr(found.risks[dtype], what), found)

    def __str__(self) -> str:
        lines = []
        for first in range(0, len(self.dtypes), 4):
            some = self.dtypes[first : first + 4]
            lines.append(f"{'':<24}" + "".join(f" {dtype:^17}" for dtype in some))
            lines.append(f"{'probability of':<24}" + " over  under flush" * len(some))
            for row in self.rows:
                mark = {"value": "", "gradient": "d ", "parameter": "d "}[row.kind]
                name = mark + row.name
                name = name if len(name) <= 24 else f"~{name[-23:]}"
                cells = "".join(" " + " ".join(f"{_tell(p):<5}" for p in row.risks[dtype]) for dtype in some)
                lines.append(f"{name:<24}{cells}".rstrip())
        return "\n".join(lines)


def _tell(p: float) -> str:
    if p < 1e-6:
        return ""
    if p > 0.9995:
        return "1"
    return f"{p:.2f}"[1:] if p >= 0.01 else f"{p:.0e}".replace("e-0", "e-")


def table(
    values: Sequence[tuple[str, str, Any, Sizes | None]], dtypes: Sequence[Any], gradient_scale: float
) -> Formats:
    """The table of values ``(name, kind, line, sizes)``."""
    names = tuple(jnp.dtype(dtype).name for dtype in dtypes if limits(dtype))
    if not names:
        raise ValueError("`dtypes` must name a format at least")
    if not (isinstance(gradient_scale, int | float | np.number) and 0 < gradient_scale < np.inf):
        raise ValueError(f"`gradient_scale` must be positive and finite; got {gradient_scale!r}")
    scale = {"value": 1.0, "gradient": gradient_scale, "parameter": gradient_scale}
    return Formats(
        tuple(
            FormatRow(name, kind, line, {dtype: risk(law, dtype, scale[kind]) for dtype in names})
            for name, kind, line, law in values
            if law is not None
        ),
        names,
    )
