"""Multipliers of initial values, uses and rates, as pytrees and as transformations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import optax

from jnorm import paths
from jnorm._ground import checks
from jnorm.theory import _rules
from jnorm.theory._widths import Init, Tensor, named, tensors


@dataclass(frozen=True)
class Parametrization:
    """How each parameter is to be drawn, used and trained at a width, relative to the base; prints as a table.

    Attributes:
        rule: The name of the rule.
        optimizer: The kind of optimizer that the rates are for.
        tensors: The parameters: path, shape, kind, and growth of fan-in and fan-out.
        multipliers: Of each, ``forward``, ``init`` and ``rate``.
        branch: What the output of each residual branch is to be multiplied by, relative to the base.
        tree: The structure of the parameters.
    """

    rule: str
    optimizer: str
    tensors: tuple[Tensor, ...]
    multipliers: tuple[_rules.Multipliers, ...]
    branch: float
    tree: Any

    @property
    def init(self) -> Any:
        """Multipliers of the initial values, a pytree of numbers like the parameters."""
        return self.tree.unflatten([m.init for m in self.multipliers])

    @property
    def forward(self) -> Any:
        """Multipliers of the parameters wherever they are used; all 1 for "standard" and "mup"."""
        return self.tree.unflatten([m.forward for m in self.multipliers])

    @property
    def rate(self) -> Any:
        """Multipliers of the learning rate."""
        return self.tree.unflatten([m.rate for m in self.multipliers])

    def initial(self, params: Any) -> Any:
        """Freshly drawn parameters times ``init``, of the same structure and dtypes.

        Raises:
            ValueError: A parameter that ``init(key, width)`` did not return, or of another shape.
        """
        return self._times(params, [m.init for m in self.multipliers])

    def weights(self, params: Any) -> Any:
        """Parameters times ``forward``: what the model is applied with. The gradient is taken through it.

        Raises:
            ValueError: As `initial`.
        """
        return self._times(params, [m.forward for m in self.multipliers])

    def rates(self) -> optax.GradientTransformation:
        """Updates times ``rate``: after what makes the update's direction, ``optax.chain(optax.adam(r), p.rates())``.

        Weight decay that is not to follow the width comes behind it: ``optax.chain(optax.scale_by_adam(), p.rates(),
        optax.add_decayed_weights(d), optax.scale_by_learning_rate(r))``, which is the larger decay of hidden weights in
        Dey et al. 2025, table 1. Masked updates stay masked.

        Raises:
            ValueError: From the update, as `initial`.
        """

        def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            del params
            return self._times(updates, [m.rate for m in self.multipliers]), state

        return optax.GradientTransformation(lambda params: optax.EmptyState(), update)

    def _times(self, tree: Any, factors: Sequence[float]) -> Any:
        known = {t.path: (t.shape, factor) for t, factor in zip(self.tensors, factors, strict=True)}

        def scaled(path: Any, leaf: jax.Array) -> jax.Array:
            shape, factor = known.get(named(path), (None, 1.0))
            if shape != leaf.shape:
                what = "no such parameter" if shape is None else f"shape {shape}"
                raise ValueError(
                    f"`params` must be those of the width that was asked for, which has {what} at {named(path)}; got "
                    f"shape {leaf.shape}"
                )
            return leaf if factor == 1.0 else leaf * factor

        return jax.tree.map_with_path(scaled, tree)

    def __str__(self) -> str:
        head = ("parameter", "kind", "fan-in", "fan-out", "forward", "init", f"rate ({self.optimizer})")
        rows = [
            (t.path, t.kind, *(f"{x:.4g}" for x in (t.fan_in, t.fan_out, *m)))
            for t, m in zip(self.tensors, self.multipliers, strict=True)
        ]
        return "\n".join([*table([head, *rows], left=2), f"{self.rule}; residual branches times {self.branch:.4g}"])


def table(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as lines of aligned columns, the first ``left`` of them to the left, the others to the right."""
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (c.ljust(s) if i < left else c.rjust(s) for i, (c, s) in enumerate(zip(row, sizes, strict=True)))
        lines.append("  ".join(cells).rstrip())
    return lines


def parametrize(
    init: Init,
    width: int,
    *,
    base: int,
    rule: str = "mup",
    optimizer: str = "adam",
    depth: int = 1,
    base_depth: int = 1,
    blocks: str | Sequence[str] = (),
    layout: str = "in-out",
    inputs: Mapping[str, Sequence[int]] | None = None,
) -> Parametrization:
    """How initial values, uses and learning rates must change from a base width and depth, for every parameter.

    With ``f`` and ``g`` the fan-in and fan-out over those at the base, and values that ``init`` draws with variance
    1/fan-in (LeCun, He, Glorot's up to a constant; biases and gains without fan-in), multiply:

    | rule | hidden | output | input | biases, gains |
    |---|---|---|---|---|
    | standard | 1 | 1 | 1 | 1 |
    | ntk | use f^-1/2, values f^1/2 | the same | 1 | 1 |
    | mup | Adam 1/f, SGD g/f | values f^-1/2, Adam 1/f, SGD 1/f | SGD g | SGD g |
    | u-mup | use f^-1/2, values f^1/2, Adam f^-1/2, SGD g | use 1/f, values f^1/2, SGD f | Adam g^-1/2, SGD g | SGD g |
    | completep | Adam 1/f, SGD g/f | use 1/f, values f^1/2, SGD f | SGD g | SGD g |

    Rules of depth, with m the depth over that at the base: "completep" multiplies each residual branch by 1/m and
    changes no rate of Adam; "mup" and "u-mup" by m^-1/2, and Adam's rates in the blocks likewise. Rates of SGD for
    "u-mup" and "completep", whose papers have Adam alone, are those that make the same training as "mup" at a depth of
    1, and m for the blocks of "completep". "adam" stands for all optimizers whose steps do not depend on the scale of
    the gradient, "sgd" for those that are linear in it.

    No multiplier knows what happens between parameters: attention whose heads get wider has logits over the size of
    a head, not its root, in all rules but the first two, and gradients shrink with the width, so that Adam's ``eps``
    has to be far below them. Unit scaling of operations without parameters is not part of "u-mup" here. An embedding
    that is drawn with a variance of 1/features, as Flax's is by default, is no input in this sense: hand it
    ``embedding_init=jnorm.initializers.normal()``. One that is shared with the output cannot be told from others.

    Which axes grow is seen from the shapes of ``init`` at two widths; which of them are inputs from ``layout``: of two
    axes that grow the first (Flax, Haiku, `jnorm.nn`) or the last (Equinox), of one the last is the output, or the
    first. Arrays of one axis, and those named ``bias``, have no input axis. `coord_check` tests what comes out.

    Args:
        init: ``init(key, width)`` returns the parameters, a pytree of arrays: of Flax's linen ``model.init``, of nnx
            ``nnx.state(model, nnx.Param)``, of Equinox ``equinox.filter(model, equinox.is_array)``.
        width: The width to scale to.
        base: The width at which everything stays as it is, and at which the learning rate is tuned.
        rule: One of standard, ntk, mup, u-mup and completep.
        optimizer: "adam" or "sgd".
        depth: Number of residual blocks.
        base_depth: That at which the learning rate is tuned.
        blocks: Paths of the parameters in residual branches (see `jnorm.paths`), for rules of depth.
        layout: "in-out" where inputs come before outputs in kernels, "out-in" where they come behind.
        inputs: Axes that are inputs, by path, where the layout does not say it: ``{"embedding": (0,)}``.

    Returns:
        The multipliers.

    Raises:
        ValueError: An unknown option or path; an ``init`` of which no axis moves with the width, or more than two of an
            array; a depth unlike the base without ``blocks``. Nothing is compiled.
        TypeError: ``init`` returns something else than arrays.

    Source: Yang et al. 2022 (arXiv 2203.03466), tables 3 and 8; Jacot et al. 2018 (arXiv 1806.07572); Blake et al. 2024
    (arXiv 2407.17465), table 2; Dey et al. 2025 (arXiv 2505.01618), table 1; for depth Yang et al. 2023 (arXiv
    2310.02244).

    >>> from jnorm import initializers
    >>> def init(key, width):
    ...     shapes = {"first": (8, width), "second": (width, width), "readout": (width, 3)}
    ...     keys = jax.random.split(key, len(shapes))
    ...     draw = initializers.lecun_normal()
    ...     return {name: draw(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}
    >>> print(parametrize(init, 256, base=64, rule="mup"))
    parameter  kind    fan-in  fan-out  forward  init  rate (adam)
    first      input        1        4        1     1            1
    readout    output       4        1        1   0.5         0.25
    second     hidden       4        4        1     1         0.25
    mup; residual branches times 1
    """
    checks.choice("rule", rule, _rules.RULES)
    checks.choice("optimizer", optimizer, _rules.OPTIMIZERS)
    checks.whole(1, depth=depth, base_depth=base_depth)
    found, tree = tensors(init, width, base, layout, inputs)
    if depth != base_depth and not blocks:
        raise ValueError(
            f"`blocks` must name the parameters of residual branches where the depth is not that of the base; got none "
            f"at depths {depth} and {base_depth}"
        )
    growth, inside = depth / base_depth, [False] * len(found)
    if blocks:
        inside = jax.tree.leaves(paths.mask(tree.unflatten([0.0] * len(found)), blocks))
    made = tuple(
        _rules.multipliers(rule, optimizer, t.kind, t.fan_in, t.fan_out, growth if hit else None)
        for t, hit in zip(found, inside, strict=True)
    )
    alpha = _rules.RULES[rule].alpha
    return Parametrization(rule, optimizer, found, made, growth**-alpha if alpha is not None else 1.0, tree)
