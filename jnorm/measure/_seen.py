"""What was measured: a pytree of arrays by name, that prints as a table."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import jax
import numpy as np

from jnorm._ground import nodes
from jnorm.measure._places import Place

Table = dict[str, dict[str, jax.Array]]


@nodes.register
@dataclass(frozen=True, eq=False)
class Seen:
    """What was measured of a program, a pytree; prints as a table.

    Attributes:
        values: Measures by the name of the place and their own: ``values["model/Dense_0/add"]["mean"]``. In front of a
            measure's own axes is one for each `scan` around the place.
        cotangents: The same of the derivatives of the output by these values, where they were asked for.
        places: What is known of each place, in order of computation.
    """

    values: Table
    cotangents: Table
    places: tuple[Place, ...] = field(metadata={"static": True})

    def flat(self) -> dict[str, jax.Array]:
        """All arrays in one dictionary, ``"<place>/<measure>"`` and ``"cotangent/<place>/<measure>"``, in order."""
        return dict(self._rows())

    def _rows(self) -> Iterator[tuple[str, jax.Array]]:
        for prefix, table in (("", self.values), ("cotangent/", self.cotangents)):
            for place in self.places:
                for name, array in table.get(place.name, {}).items():
                    yield f"{prefix}{place.name}/{name}", array

    def __str__(self) -> str:
        """One row a place, of the measures that are single numbers; of several, as in a loop, their mean."""
        tables = [("", self.values), ("cotangent ", self.cotangents)]
        columns = [
            (prefix, name)
            for prefix, table in tables
            for name in dict.fromkeys(name for row in table.values() for name in row)
            if name not in ("histogram", "percentiles")
        ]
        lines = [["", *(prefix + name for prefix, name in columns)]]
        for place in self.places:
            cells = [dict(tables)[prefix].get(place.name, {}).get(name) for prefix, name in columns]
            lines.append([place.name, *("" if cell is None else f"{np.mean(cell):.4g}" for cell in cells)])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
            for row in lines
        )
