"""Cases that run with ``--thorough`` alone, beside a sample of them that runs always."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def thorough(case: Any) -> Any:
    """A case of a ``parametrize`` that runs with ``--thorough`` alone."""
    return pytest.param(case, marks=pytest.mark.thorough)


def beside(sample: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases of a ``parametrize``, those that are not in the sample `thorough`."""
    return [case if case in sample else thorough(case) for case in cases]
