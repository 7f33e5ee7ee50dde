"""Laws of `jnorm.losses`."""

import numpy as np

from jnorm import losses
from tests.registry import CLASSES, LAYER, MEAN, ROWS, SIGNS, X, add, each

add("losses.softmax_cross_entropy", losses.softmax_cross_entropy, ROWS, CLASSES, dtypes=LAYER)
add("losses.sigmoid_cross_entropy", losses.sigmoid_cross_entropy, ROWS, 1 / (1 + np.exp(ROWS)), dtypes=LAYER)
add("losses.squared_error", losses.squared_error, X, MEAN, dtypes=LAYER)
add("losses.huber", losses.huber, X, MEAN, dtypes=LAYER)
add("losses.hinge", losses.hinge, X, SIGNS, dtypes=LAYER)
add("losses.l1_penalty", each(losses.l1_penalty), ROWS)
add("losses.l2_penalty", each(losses.l2_penalty), ROWS)
