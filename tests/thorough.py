"""Cases that run with ``--thorough`` alone, beside a sample of them that runs always."""

import zlib
from collections.abc import Collection, Iterable
from typing import Any

import pytest


def thorough(case: Any) -> Any:
    """A case of a ``parametrize`` that runs with ``--thorough`` alone."""
    return pytest.param(case, marks=pytest.mark.thorough)


def in_part(name: str, part: str) -> bool:
    """Whether a case belongs to part I of N, ``"I/N"`` with I < N: each belongs to one, on any machine.

    Raises:
        ValueError: ``part`` is none.
    """
    which, _, count = part.partition("/")
    if not (which.isdecimal() and count.isdecimal() and int(which) < int(count)):
        raise ValueError(f"`part` must be I/N with 0 <= I < N; got {part!r}")
    return zlib.crc32(name.encode()) % int(count) == int(which)


def beside(sample: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases of a ``parametrize``, those that are not in the sample `thorough`."""
    return [case if case in sample else thorough(case) for case in cases]
