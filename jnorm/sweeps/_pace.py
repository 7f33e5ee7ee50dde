"""How often what is on its way is written down: as often as takes no more than a small share of the time.

>>> Pace().due, Pace(cost=1.0).due
(True, False)
"""

import time
from dataclasses import dataclass, field

SHARE = 0.02
"""Of the time that may go into writing."""


@dataclass(frozen=True)
class Pace:
    """When to write again.

    Attributes:
        last: when it was begun last, by `time.perf_counter`.
        cost: seconds that it took.
    """

    last: float = field(default_factory=time.perf_counter)
    cost: float = 0.0

    @property
    def due(self) -> bool:
        """Whether writing as before takes no more than its share of the time since then."""
        return self.cost <= SHARE * (time.perf_counter() - self.last)
