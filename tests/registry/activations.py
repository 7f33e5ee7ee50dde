"""Laws of `jnorm.activations`."""

from functools import partial

from jnorm import activations
from tests.registry import LAYER, POSITIVE, ROWS, TAU, X, add, host

for _name, _phi in activations.ELEMENTWISE.items():
    add(f"activations.{_name}", _phi, X, dtypes=LAYER)
for _name, _call in {
    "leaky_relu": lambda x, a: activations.leaky_relu(x, negative_slope=a),
    "elu": lambda x, a: activations.elu(x, alpha=a),
    "celu": lambda x, a: activations.celu(x, alpha=a),
}.items():
    add(f"activations.{_name}", _call, X, POSITIVE, dtypes=LAYER)
add("activations.scaled_elu", activations.scaled_elu, X, POSITIVE, TAU, dtypes=LAYER)
add("activations.softmax", activations.softmax, ROWS, dtypes=LAYER)
add("activations.log_softmax", activations.log_softmax, ROWS, dtypes=LAYER)
add("activations.hardmax", activations.hardmax, ROWS, dtypes=LAYER, gradient="piecewise constant")


def _registered() -> tuple[float, ...]:
    return activations.kinks(activations.register(activations.hard_tanh))


host("activations.register", _registered)
host("activations.kinks", lambda: activations.kinks(partial(activations.leaky_relu, negative_slope=0.2)))
host("activations.closed_form", lambda: activations.closed_form(activations.gelu))
