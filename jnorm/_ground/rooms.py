"""Names that are not there: an import of one says where it went, or what there is."""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "atomic": "jnorm._ground.atomic",
    "checks": "jnorm._ground.checks",
    "fans": "jnorm.initializers",
    "lsuv": "jnorm.initializers",
    "protocol": "jnorm.initializers",
    "structured": "jnorm.initializers",
    "theory.certificate": "jnorm.proofs.certificate",
    "theory.constants": "jnorm.theory.fixed_points",
    "train.results": "jnorm.sweeps",
    "train.search": "jnorm.sweeps.search",
    "train.store": "jnorm.sweeps",
    "train.sweep": "jnorm.sweeps",
}
"""Modules of an earlier layout, without the leading ``jnorm.``, and what holds their public names now."""


class Finder:
    """The last finder of ``sys.meta_path``: it is asked for those modules of jnorm that no other one has found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Raise ``ImportError`` for modules that have moved and for unknown rooms; leave the others to Python.

        >>> import jnorm.train.sweep
        Traceback (most recent call last):
        ...
        ImportError: 'jnorm.train.sweep' has moved: see 'jnorm.sweeps'
        """
        package, _, module = name.partition(".")
        if package != "jnorm" or module.startswith("_"):
            return None
        if module in MOVED:
            raise ImportError(f"{name!r} has moved: see {MOVED[module]!r}", name=name)
        if module and "." not in module and module not in sys.modules["jnorm"].__all__:
            raise ImportError(unknown(module), name=name)
        return None


def unknown(room: str) -> str:
    """What to say of a room that there is not.

    >>> unknown("nosuch")[:53]
    "module 'jnorm' has no room 'nosuch'; it has jaxprs, p"
    """
    return f"module 'jnorm' has no room {room!r}; it has {', '.join(sys.modules['jnorm'].__all__)}"
