"""Equations with their place in a program, and the programs that they hold."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax

from jnorm.jaxprs._lines import Line, is_of_jax, line, source

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

CALLS = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "remat", "remat2", "checkpoint"}
)
"""Primitives that call one program with their own inputs."""

CUSTOM = frozenset({"custom_jvp_call", "custom_vjp_call"})
"""Those of them that have derivatives of their own."""

LOOPS = frozenset({"cond", "scan", "while"})
"""Branches and loops."""


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """An equation at its place.

    Attributes:
        equation: The equation, ``jax.extend.core.JaxprEqn``.
        outer: The call, branch or loop that it is in.
        index: Its place as numbers, from outside: that of each equation in its program, and between two of them that of
            the program among those which the outer equation holds.
        turns: Numbers of the turns of the loops around it, from outside, where `jnorm.jaxprs.thread` computes.
    """

    equation: "JaxprEqn"
    outer: "Site | None"
    index: tuple[int, ...]
    _program: "Jaxpr" = dataclasses.field(repr=False)
    _inside: Callable[..., list[Any]] | None = dataclasses.field(default=None, repr=False)
    turns: tuple[Any, ...] = dataclasses.field(default=(), repr=False)

    @property
    def around(self) -> "tuple[Site, ...]":
        """The calls, branches and loops around it, from outside."""
        return (*self.outer.around, self.outer) if self.outer else ()

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the calls, branches and loops around it, from outside."""
        return tuple(site.name for site in self.around)

    @property
    def primitive(self) -> str:
        """The name of what it computes."""
        return str(self.equation.primitive.name)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the primitive."""
        return dict(self.equation.params)

    @property
    def line(self) -> Line | None:
        """The user's line, as `jnorm.jaxprs.line` says; of an equation in a function of JAX the line that calls it.

        JAX traces such a function once for all who call it, so that its own equations know the first of them alone.
        """
        mine = None if self.outer and is_of_jax(self._program) else line(self.equation)
        return mine or (self.outer.line if self.outer else None)

    @property
    def function(self) -> str:
        """The name of the function that it calls, where it is a call."""
        return source(self.bodies[0].jaxpr)[0] if self.primitive in CALLS and self.bodies else ""

    @property
    def is_of_jax(self) -> bool:
        """Whether it calls a function of JAX or jnorm, such as ``jax.nn.gelu``."""
        return self.primitive in CALLS and bool(self.bodies) and is_of_jax(self.bodies[0].jaxpr)

    @property
    def bodies(self) -> "list[ClosedJaxpr]":
        """The programs inside, as `jnorm.jaxprs.bodies` says."""
        return bodies(self.equation)

    def run(self, *inputs: Any) -> list[Any]:
        """What the equation computes, as it stands: of arrays or tracers.

        Args:
            *inputs: One for each input of the equation.

        Returns:
            Its outputs, a list.
        """
        from jax.extend.core import Literal

        equation = self.equation
        variables = [atom for atom in equation.invars if not isinstance(atom, Literal)]
        given = [v for v, atom in zip(inputs, equation.invars, strict=True) if not isinstance(atom, Literal)]
        known = dict(zip(variables, given, strict=True))
        alone = self._program.replace(constvars=(), invars=tuple(known), outvars=equation.outvars, eqns=(equation,))
        return list(jax.core.eval_jaxpr(alone, (), *known.values()))

    def open(self, body: "ClosedJaxpr", *inputs: Any) -> list[Any]:
        """What a program inside computes, with the same hook on its equations.

        Args:
            body: One of `bodies`.
            *inputs: Its inputs.

        Returns:
            Its outputs.

        Raises:
            ValueError: The site comes from `walk`, which evaluates nothing.
        """
        if self._inside is None:
            raise ValueError("only a site that `evaluate` hands to its hook can be opened")
        number = next((i for i, known in enumerate(self.bodies) if known.jaxpr is body.jaxpr), 0)
        return self._inside(body, inputs, self, number)

    @property
    def name(self) -> str:
        """What a path calls it: the name of what is called, else that of the primitive."""
        called = self.equation.params.get("name")
        if not called and self.primitive in CALLS and self.bodies:
            called = _traced(self.bodies[0])
        return str(called or self.primitive)

    def __str__(self) -> str:
        return f"`{self.primitive}`" + (f" at {self.line}" if self.line else "")


def _traced(body: "ClosedJaxpr") -> str:
    """The name of the function that a program was traced from, if it has one."""
    about = getattr(getattr(body.jaxpr, "debug_info", None), "func_src_info", None)
    called = str(about or "").partition(" at ")[0]
    return called if called.isidentifier() else ""


def bodies(equation: "JaxprEqn") -> "list[ClosedJaxpr]":
    """The programs that an equation holds.

    Of a call or a scan one, of a ``cond`` its branches, of a ``while`` its condition and its body. The rules of custom
    derivatives are functions, and are none of them.

    Args:
        equation: Of a jaxpr.

    Returns:
        The programs, in the order of the parameters.

    >>> import jax
    >>> equation = jax.make_jaxpr(jax.jit(lambda x: x + 1))(2.0).eqns[0]
    >>> [body.eqns[0].primitive.name for body in bodies(equation)]
    ['add']
    """
    found: list[ClosedJaxpr] = []
    for value in equation.params.values():
        parts = value if isinstance(value, tuple | list) else (value,)
        found += [_closed(part) for part in parts if hasattr(getattr(part, "jaxpr", part), "eqns")]
    return found


def _closed(program: Any) -> "ClosedJaxpr":
    from jax.extend.core import ClosedJaxpr

    return program if isinstance(program, ClosedJaxpr) else ClosedJaxpr(program, ())


def walk(jaxpr: "ClosedJaxpr | Jaxpr") -> Iterator[Site]:
    """Every equation of a program, each before those that it holds.

    Args:
        jaxpr: What ``jax.make_jaxpr`` returns.

    Yields:
        The equations with their paths.

    >>> import jax
    >>> [site.primitive for site in walk(jax.make_jaxpr(jax.nn.relu)(1.0))]
    ['custom_jvp_call', 'jit', 'max']
    """
    yield from _walk(jaxpr, None, ())


def _walk(jaxpr: "ClosedJaxpr | Jaxpr", outer: Site | None, place: tuple[int, ...]) -> Iterator[Site]:
    program = _closed(jaxpr).jaxpr
    for number, equation in enumerate(program.eqns):
        site = Site(equation, outer, (*place, number), program)
        yield site
        for i, body in enumerate(site.bodies):
            yield from _walk(body, site, (*site.index, i))
