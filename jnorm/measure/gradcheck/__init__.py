"""Is the gradient of my loss right, and if not, which equation is to blame?

`check` answers with a `Report`, `assert_gradients` raises where a test should fail. What they check may be anybody's: a
loss of a pytree, whatever made it.
"""

from jnorm.measure.gradcheck._checks import assert_gradients, check
from jnorm.measure.gradcheck._consistency import Agreement
from jnorm.measure.gradcheck._entries import Leaf
from jnorm.measure.gradcheck._remainders import Remainder
from jnorm.measure.gradcheck._reports import Report
from jnorm.measure.gradcheck._rules import Fault

__all__ = ["Agreement", "Fault", "Leaf", "Remainder", "Report", "assert_gradients", "check"]
