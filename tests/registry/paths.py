"""Laws of `jnorm.paths`."""

from jnorm import paths
from tests.registry import host

host("paths.mask", lambda: paths.mask({"dense": {"kernel": 1.0, "bias": 2.0}, "head": 3.0}, "dense"))
