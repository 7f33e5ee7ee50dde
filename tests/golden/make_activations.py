"""Writes activations.json: every activation and its first four derivatives, by power series in ball arithmetic.

At a kink the derivatives are those of the branch on the left. Run as ``python tests/golden/make_activations.py``.
"""

import json
import math
from pathlib import Path

import flint

FILE = Path(__file__).with_name("activations.json")
SOURCE = "python-flint (Arb), by make_activations.py; functions[name][k][i] is the k-th derivative at points[i]"


def selu_constants():
    e, root2 = flint.arb(1).exp(), flint.arb(2).sqrt()
    r, q = e.sqrt() * (1 / root2).erfc(), e**2 * root2.erfc()
    alpha = root2 / flint.arb.pi().sqrt() / (1 - r)
    return (2 / (1 + alpha**2 * (q - 2 * r + 1))).sqrt(), alpha


def branches():
    """Of each function: the kinks, and the smooth branches between them from left to right."""
    (lam, alpha), half = selu_constants(), flint.arb(0.5)
    line = lambda x: x
    expm1 = lambda x: x.exp() - 1
    zero, one = lambda x: 0 * x, lambda x: 1 + 0 * x

    def mish(x):
        e = x.exp()
        return x * e * (e + 2) / (e * (e + 2) + 2)

    return {
        "identity": ([], [line]),
        "relu": ([0], [zero, line]),
        "leaky_relu": ([0], [lambda x: x / 100, line]),
        "elu": ([0], [expm1, line]),
        "celu": ([0], [expm1, line]),
        "selu": ([0], [lambda x: lam * alpha * expm1(x), lambda x: lam * x]),
        "hard_tanh": ([-1, 1], [lambda x: -one(x), line, one]),
        "softsign": ([0], [lambda x: x / (1 - x), lambda x: x / (1 + x)]),
        "sigmoid": ([], [lambda x: 1 / (1 + (-x).exp())]),
        "tanh": ([], [lambda x: 1 - 2 / (1 + (2 * x).exp())]),
        "softplus": ([], [lambda x: (1 + x.exp()).log()]),
        "squareplus": ([], [lambda x: (x + (x * x + 4).sqrt()) / 2]),
        "silu": ([], [lambda x: x / (1 + (-x).exp())]),
        "gelu": ([], [lambda x: x * half * (-x * half.sqrt()).erfc()]),
        "mish": ([], [mish]),
        "erf": ([], [lambda x: x.erf()]),
        "sin": ([], [lambda x: x.sin()]),
    }


def points():
    """Those of the file, which are data: the last bit of a power depends on the processor.

    Both signs of 1e-6 to 1e4, 0 and +-1: a third are bfloat16 numbers, a third float32, a third double.
    """
    return json.loads(FILE.read_text())["points"]


def derivatives(name, x):
    """The five values at x as decimals: the precision doubles until 25 digits, or zeros to 1e-330, are certain."""
    flint.ctx.prec, flint.ctx.cap = 1500, 5
    while True:
        kinks, functions = branches()[name]
        series = functions[sum(x > k for k in kinks)](flint.arb_series([x, 1]))
        values = [math.factorial(k) * flint.arb(series[k]) for k in range(5)]
        if all(v.rel_accuracy_bits() > 85 or abs(v) < flint.arb("1e-330") for v in values):
            return ["0" if abs(v) < flint.arb("1e-330") else v.str(22, radius=False) for v in values]
        flint.ctx.prec *= 2


def main():
    kept = points()
    table = {name: list(zip(*(derivatives(name, x) for x in kept), strict=True)) for name in branches()}
    text = json.dumps({"source": SOURCE, "points": kept, "functions": table}, indent=0)
    FILE.write_text(text.replace(",\n", ", ") + "\n")


if __name__ == "__main__":
    main()
