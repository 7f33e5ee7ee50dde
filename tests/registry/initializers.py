"""Laws of `jnorm.initializers`."""

from jnorm import activations, initializers
from tests.registry import KEYS, LAYER, X, add, drawn

DRAWS = {"gradient": "draws from a key", "nan": "draws from a key"}
for _name, _init in {
    "zeros": initializers.zeros(),
    "ones": initializers.ones(),
    "constant": initializers.constant(0.3),
    "normal": initializers.normal(),
    "truncated_normal": initializers.truncated_normal(),
    "uniform": initializers.uniform(),
    "variance_scaling": initializers.variance_scaling(2.0, "fan_avg", "uniform", omega=0.1, tau=1.0),
    **{
        f"{who}_{law}": getattr(initializers, f"{who}_{law}")()
        for who in ("glorot", "he", "lecun")
        for law in ("normal", "uniform")
    },
    "for_activation": initializers.for_activation(activations.tanh, mode="both"),
}.items():
    add(f"initializers.{_name}", drawn(_init, 6, 4), KEYS, X, dtypes=LAYER, **DRAWS)
for _name, _init in {
    "identity": initializers.identity(),
    "orthogonal": initializers.orthogonal(),
    "sparse": initializers.sparse(0.5),
}.items():
    add(f"initializers.{_name}", drawn(_init, 6, 4), KEYS, X, dtypes=LAYER, **DRAWS)
add("initializers.delta_orthogonal", drawn(initializers.delta_orthogonal(), 3, 2, 4), KEYS, X, dtypes=LAYER, **DRAWS)
