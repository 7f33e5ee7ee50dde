"""Laws of `jnorm.train`."""

from jnorm.train import evaluation, schedules
from tests.registry import CLASSES, MEAN, POSITIVE, ROWS, TAU, add, each

COUNTS = {"gradient": "piecewise constant"}
PARTS = {"nan": "each value depends on some of the arguments"}

add("train.evaluation.accuracy", evaluation.accuracy, ROWS, CLASSES, **COUNTS)
for _schedule in (schedules.inverse_time, schedules.exponential):
    add(f"train.schedules.{_schedule.__name__}", lambda a, k, t, f=_schedule: f(a, k)(t), MEAN, TAU, POSITIVE)
add("train.schedules.inverse_sqrt", lambda a, t: schedules.inverse_sqrt(a)(t), MEAN, POSITIVE)
add("train.schedules.piecewise", each(lambda a, t: schedules.piecewise(a[:2], [1])(t)), ROWS, POSITIVE + 0.1, **PARTS)
