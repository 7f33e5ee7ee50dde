"""What the rows of a prediction are in real initializations."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.models import Model
from jnorm import jaxprs
from jnorm.predict import Prediction


class Real(NamedTuple):
    """Means over initializations and their standard errors, ``[2, rows]``.

    Attributes:
        second: Of the second moment.
        gradient: Of the squared gradient, for independent normal cotangents.
    """

    second: np.ndarray
    gradient: np.ndarray


def real(model: Model, prediction: Prediction, draws: int, advance: Callable[[], object] = lambda: None) -> Real:
    """The same rows of so many networks; ``advance()`` is called after each."""
    leaves = jax.tree.leaves(model.x)
    program = jax.make_jaxpr(model.apply)(jax.eval_shape(model.draw, jax.random.key(0)), model.x)
    places = {(row.index, row.output): number for number, row in enumerate(prediction)}
    around = {row.index[:length] for row in prediction for length in range(1, len(row.index))}

    def through(params: Any, probes: list[Any]) -> tuple[Any, list[Any]]:
        """The results with something added to each row, and second moments."""
        seen: dict[int, Any] = {}

        def hook(site: Any, *inputs: Any) -> list[Any]:
            out = list(site.open(site.bodies[0], *inputs) if site.index in around else site.run(*inputs))
            for i, value in enumerate(out):
                number = places.get((site.index, i))
                if number is not None:
                    out[i], seen[number] = value + probes[number], jnp.mean(jnp.square(value.astype(jnp.float32)))
            return out

        results = jaxprs.evaluate(program, *jax.tree.leaves(params), *leaves, hook=hook, opens=())
        return results, [seen[number] for number in range(len(prediction))]

    @jax.jit
    def one(key: jax.Array) -> Any:
        of_params, of_cotangents = jax.random.split(key)
        params = model.draw(of_params)
        probes = [jnp.zeros(row.shape, row.dtype) for row in prediction]
        results, back, squares = jax.vjp(lambda probes: through(params, probes), probes, has_aux=True)
        (slopes,) = back([jax.random.normal(of_cotangents, y.shape, y.dtype) for y in results])
        return jnp.stack(squares), jnp.stack([jnp.mean(jnp.square(slope.astype(jnp.float32))) for slope in slopes])

    found = []
    for key in jax.random.split(jax.random.key(1), draws):
        found.append(jax.tree.map(lambda a: np.asarray(a, np.float64), one(key)))
        advance()
    runs = [np.stack(part) for part in zip(*found, strict=True)]
    return Real(*(np.stack([part.mean(0), part.std(0, ddof=1) / np.sqrt(draws)]) for part in runs))
