"""What a network does, measured in the network itself, from outside: whatever it is made of."""

from jnorm.measure import gradcheck

__all__ = ["gradcheck"]
