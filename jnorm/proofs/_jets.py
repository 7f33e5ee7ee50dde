"""Forward differentiation in balls: a value with its derivatives in m and v."""

from typing import Any


class Jet:
    """A ball over a box, with balls for its derivatives there.

    Attributes:
        x: The value.
        dm: Its derivative in m.
        dv: Its derivative in v.
    """

    __slots__ = ("dm", "dv", "x")

    def __init__(self, x: Any, dm: Any, dv: Any) -> None:
        self.x, self.dm, self.dv = x, dm, dv

    def __add__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            return Jet(self.x + other.x, self.dm + other.dm, self.dv + other.dv)
        return Jet(self.x + other, self.dm, self.dv)

    __radd__ = __add__

    def __neg__(self) -> "Jet":
        return Jet(-self.x, -self.dm, -self.dv)

    def __sub__(self, other: Any) -> "Jet":
        return self + (-other)

    def __rsub__(self, other: Any) -> "Jet":
        return -self + other

    def __mul__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            dm, dv = self.dm * other.x + self.x * other.dm, self.dv * other.x + self.x * other.dv
            return Jet(self.x * other.x, dm, dv)
        return Jet(self.x * other, self.dm * other, self.dv * other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Jet":
        if isinstance(other, Jet):
            q = self.x / other.x
            return Jet(q, (self.dm - q * other.dm) / other.x, (self.dv - q * other.dv) / other.x)
        return Jet(self.x / other, self.dm / other, self.dv / other)

    def sqrt(self) -> "Jet":
        """Square root; not finite where the ball meets zero."""
        root = self.x.sqrt()
        return Jet(root, self.dm / (2 * root), self.dv / (2 * root))
