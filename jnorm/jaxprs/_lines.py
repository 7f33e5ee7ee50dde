"""Which line of the user's code an equation comes from."""

import functools
import os
import sysconfig
from typing import TYPE_CHECKING, NamedTuple

import jax

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn


class Line(NamedTuple):
    """A line of code; prints as ``file:number (function)``.

    Attributes:
        file: The file's path.
        number: The line, from one on.
        function: The function that it is in.
    """

    file: str
    number: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number} ({self.function})"


def line(equation: "JaxprEqn") -> Line | None:
    """The line of the user's code that an equation comes from.

    It is the innermost one outside JAX, jnorm, Python's own library and installed packages; where all are inside of
    these, such as in a function of a package, the innermost one outside JAX and jnorm.

    Args:
        equation: Of a jaxpr.

    Returns:
        The line, or ``None`` where JAX has kept none.

    >>> found = line(jax.make_jaxpr(lambda x: jax.nn.relu(x) + 1)(2.0).eqns[0])
    >>> found.number, found.function
    (1, '<lambda>')
    """
    traceback = equation.source_info.traceback
    if traceback is None:
        return None
    frames = [Line(f.file_name, f.line_num, f.function_name) for f in traceback.frames]
    outside = [frame for frame in frames if not frame.file.startswith(_own())]
    users = [frame for frame in outside if not frame.file.startswith(_installed()) and "-packages" not in frame.file]
    return next(iter([*users, *outside]), None)


def source(program: "Jaxpr") -> tuple[str, str]:
    """The name of the function whose program it is, and the ``file:line`` of that."""
    name, _, place = str(getattr(program.debug_info, "func_src_info", "")).partition(" at ")
    return name, place


def is_of_jax(program: "Jaxpr") -> bool:
    """Whether a program is that of a function of JAX or jnorm."""
    return source(program)[1].startswith(_own())


@functools.cache
def _own() -> tuple[str, ...]:
    """The folders of JAX and of jnorm."""
    import jaxlib

    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return tuple(f"{folder}{os.sep}" for folder in (*jax.__path__, *jaxlib.__path__, here))


@functools.cache
def _installed() -> tuple[str, ...]:
    """The folders of Python's own library; code that it generates has names such as ``<frozen runpy>``."""
    return (*(f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib")), "<frozen")
