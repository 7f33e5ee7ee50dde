"""Reading programs: a jaxpr equation by equation, nested calls opened, each with the user's line.

What ``jax.make_jaxpr`` returns is a list of equations, some of which hold programs of their own: calls of jitted
functions, functions with custom derivatives, rematerialized ones, branches and loops. `walk` lists all of them,
`evaluate` computes with a hook on every equation, `thread` also hands a state from one equation
to the next, `line` says which line of the user's code an equation comes from.

- **Values.** `evaluate` hands values on without looking at them: arrays, tracers, or anything that the hook understands
  (intervals, moments, expressions). It works under ``jit``, ``vmap`` and ``grad``.
- **Names of primitives** are those that a printed jaxpr shows, as ``"dot_general"``.
- **Custom derivatives** are lost where `evaluate` opens a call and its result is differentiated; ``opens=`` says what
  is opened. `thread` keeps them, and what ``jax.checkpoint`` says of memory.
"""

from jnorm.jaxprs._evaluate import evaluate, thread
from jnorm.jaxprs._lines import Line, line
from jnorm.jaxprs._sites import CALLS, CUSTOM, LOOPS, Site, bodies, walk

__all__ = ["CALLS", "CUSTOM", "LOOPS", "Line", "Site", "bodies", "evaluate", "line", "thread", "walk"]
