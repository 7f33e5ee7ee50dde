"""What initialization does to a model of your own, from its jaxpr, before it runs."""

from jnorm.predict._laws import Law
from jnorm.predict._predict import predict
from jnorm.predict._prediction import Prediction, Row

__all__ = ["Law", "Prediction", "Row", "predict"]
