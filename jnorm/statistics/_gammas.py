"""Ratios of gamma functions without the difference of two large logarithms, on the host in double precision.

``log G(x)`` grows as ``x log x``: at x = 10 000 it is 82 100, and the difference of two such numbers keeps twelve
digits in double precision and two in single precision. Stirling's series leaves a small rest that has no large part:
``log G(x) = (x - 1/2) log x - x + log(2 pi)/2 + rest(x)``.

>>> f"{unbiasing(2):.4f} {unbiasing(19_998):.9f}"
'0.5642 0.999962496'
"""

import math

SERIES = 16.0  # from here on five terms of the series are exact in double precision


def rest(x: float) -> float:
    """What Stirling's formula leaves of ``log G(x)``, about 1/(12 x), within 1e-14 below 16 and 1e-17 above.

    Args:
        x: The argument, above zero.

    Returns:
        The rest.

    >>> f"{rest(1.0):.12f}"  # 1 - log(2 pi)/2
    '0.081061466795'
    """
    if x < SERIES:
        return math.lgamma(x) - ((x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi))
    y = 1 / (x * x)
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y * (1 / 1680 - y / 1188)))) / x


def unbiasing(m: int) -> float:
    """Hedges' factor ``J(m) = G(m/2) / (sqrt(m/2) G((m - 1)/2))``: the expectation of 1/s over its limit, inverted.

    Args:
        m: Degrees of freedom of the variance.

    Returns:
        The factor, below one; 0 at m = 1, and infinite at m = 0.

    >>> unbiasing(0), unbiasing(1)
    (inf, 0.0)
    """
    if m < 2:
        return (math.inf, 0.0)[m]
    x = m / 2
    if x < SERIES:
        return math.gamma(x) / math.gamma(x - 0.5) / math.sqrt(x)
    return math.exp(-(x - 1) * math.log1p(-1 / m) - 0.5 + rest(x) - rest(x - 0.5))
