"""Checks of options: bad ones are refused as they are read, before any work, with the name, the rule and the value."""

import math
from collections.abc import Callable, Iterable
from typing import Any


class Refused(ValueError):
    """Input that can be judged before any work starts; the command line prints it without a traceback."""


def require(ok: Callable[[Any], bool], rule: str, **named: Any) -> None:
    """Refuse an option, or the first entry of a tuple, that breaks a rule; ``{}`` in the rule is the option's name.

    >>> require(lambda r: r > 0, "`{}` must satisfy {} > 0", rate=(0.1, -0.1))
    Traceback (most recent call last):
    ...
    ValueError: `rate` must satisfy rate > 0; got -0.1
    """
    for name, option in named.items():
        for value in option if isinstance(option, tuple | list) else (option,):
            if not ok(value):
                raise ValueError(f"{rule.replace('{}', name)}; got {value}")


def whole(least: int, **named: float) -> None:
    """Refuse what is not a whole number or is below ``least``.

    >>> whole(1, depth=0)
    Traceback (most recent call last):
    ...
    ValueError: `depth` must be a whole number >= 1; got 0
    """
    rule = f"`{{}}` must be a whole number >= {least}"
    require(lambda n: n >= least and math.isfinite(n) and n == math.floor(n), rule, **named)


def choice(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a name that is not one of the known ones, which are listed.

    >>> choice("activation", "seluu", ("relu", "selu"))
    Traceback (most recent call last):
    ...
    ValueError: `activation` must be one of relu, selu; got 'seluu'
    """
    known = tuple(known)
    if value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(known)}; got {value!r}")
