"""What a certificate says, in words made from its numbers alone: no stored title or text is believed."""

from typing import Any

from jnorm.proofs._domains import OMEGA, TAU, WIDE_TAU, Domain
from jnorm.proofs._shapes import SELU, Activation, Interval, digits, interval, number, origin

TITLES = {
    "contraction": "contraction",
    "fixed_point": "fixed point",
    "variance_decreases": "variance decreases",
    "variance_increases": "variance increases",
    "extremes": "extremes",
    "limit_set": "limit set",
    "global_convergence": "global",
    "omega_range": "omega range",
    "tau_range": "tau range",
}
# what the paper states: the statement, and the domains on which it does
PAPER = {
    "theorem 1": ("contraction", [((-0.1, 0.1), (0.8, 1.5), OMEGA, TAU)]),
    "theorem 2": ("variance_decreases", [((-1.0, 1.0), (3.0, 16.0), OMEGA, WIDE_TAU)]),
    "theorem 3": (
        "variance_increases",
        [
            ((-0.1, 0.1), (0.02, 0.16), OMEGA, (0.8, 1.25)),
            ((-0.1, 0.1), (0.02, 0.24), OMEGA, (0.9, 1.25)),
        ],
    ),
}
NAMES = ("mean", "var", "omega", "tau")


def title(statement: str, arguments: dict[str, Any]) -> str:
    """A short name: of a theorem of the paper where this is one, whole and on its domain."""
    if statement == "fixed_point":
        return f"fixed point at ({', '.join(digits(number(name, arguments[name])) for name in NAMES[2:])})"
    if statement == "extremes":
        return {"image": "image box"}.get(arguments["quantity"], str(arguments["quantity"]))
    if arguments.get("self_map") is False:
        return "contraction (self-map not stated)"
    if arguments.get("p") is None and origin(arguments.get("target", SELU)) == SELU:
        for name, (stated, domains) in PAPER.items():
            if stated == statement and _domains(arguments) == [Domain(*domain) for domain in domains]:
                return name
    return TITLES[statement]


def proposition(statement: str, arguments: dict[str, Any], ends: dict[str, Interval]) -> str:
    """The sentence that the inequalities of a statement show together, with enclosures of their extremes by name."""
    phi = _activation(arguments)
    if statement in ("omega_range", "tau_range"):
        return _range(statement, arguments, ends)
    if statement == "fixed_point":
        mean, var = (_interval(name, arguments[name]) for name in ("mean", "var"))
        at = f"at omega {digits(arguments['omega'])}, tau {digits(arguments['tau'])}"
        return f"{at} the layer map of {phi} has one fixed point with {mean}, {var}, and it attracts"
    if statement in ("limit_set", "global_convergence"):
        return _journey(statement, arguments, ends)
    where = "; and for ".join(", ".join(map(_interval, NAMES, _ends(domain))) for domain in _domains(arguments))
    if statement == "contraction":
        stays = "maps the rectangle of mean and var into itself"
        shrinks = f"shrinks every path in it {_factor(arguments, ends)}"
        both = shrinks if arguments.get("self_map") is False else f"{stays} and {shrinks}"
        return f"the layer map of {phi} {both}, for {where}"
    if statement == "extremes":
        found = ", ".join(f"{name} a number in [{digits(low)}, {digits(high)}]" for name, (low, high) in ends.items())
        return f"{phi} has {found}, for {where}"
    sign, which = ("<", "largest") if statement == "variance_decreases" else (">", "least")
    low, high = next(iter(ends.values()))
    change = f"the {which} change lies in [{digits(low)}, {digits(high)}]"
    return f"a layer of {phi} has var~ {sign} var ({change}), for {where}"


def metric(p: float | None) -> str:
    """The metric of (mean, var) with this scale."""
    return "dmean^2 + dvar^2" if p is None else f"{digits(p)}^2 dmean^2/var + dvar^2/var^2"


def _domains(arguments: dict[str, Any]) -> list[Domain]:
    """The whole domains of a statement about some."""
    rows = arguments.get("domains") or [[arguments[name] for name in NAMES]]
    return [Domain(*row) for row in rows]


def _ends(domain: Domain) -> tuple[Interval, ...]:
    return domain.mean, domain.var, domain.omega, domain.tau


def _interval(name: str, value: Any) -> str:
    low, high = interval(name, value)
    return f"{name} = {digits(low)}" if low == high else f"{name} in [{digits(low)}, {digits(high)}]"


def _activation(arguments: dict[str, Any]) -> str:
    point = origin(arguments.get("target", SELU))
    if isinstance(point, Activation):
        return point.name
    if point == SELU:
        return "SELU"
    mean, var, omega, tau = map(digits, point)
    return f"the scaled ELU with fixed point (mean {mean}, var {var}) at omega {omega}, tau {tau}"


def _factor(arguments: dict[str, Any], ends: dict[str, Interval]) -> str:
    rate = next(high for name, (_, high) in ends.items() if name.startswith("rate"))
    return f"by the factor {digits(rate)} at least in the metric {metric(arguments.get('p'))}"


def _journey(statement: str, arguments: dict[str, Any], ends: dict[str, Interval]) -> str:
    weights = ", ".join(_interval(name, arguments[name]) for name in NAMES[2:])
    if "path" not in arguments:
        return f"with {weights} nothing is shown of where layers of {_activation(arguments)} lead"
    (mean, var, _), (*hull, _) = arguments["path"][0], arguments["path"][-1]
    inside = ", ".join(map(_interval, NAMES, hull))
    if statement == "limit_set":
        start = ", ".join(map(_interval, NAMES, (mean, var)))
        layers = f"{len(arguments['path']) - 1} layers of {_activation(arguments)}"
        return f"from {start} with {weights}, free to change, {layers} lead into {inside}, for good"
    shrinks = f"where the map shrinks every path {_factor(arguments, ends)}"
    all_starts = f"every start with var > 0 and {weights}, free to change,"
    return f"{all_starts} comes under layers of {_activation(arguments)} for good into {inside}, {shrinks}"


def _range(statement: str, arguments: dict[str, Any], ends: dict[str, Interval]) -> str:
    (a, b), (c, d) = ((digits(low), digits(high)) for low, high in list(ends.values())[:2])
    between = f"between a number in [{a}, {b}] and one in [{c}, {d}]"
    var = digits(arguments["var"])
    if statement == "omega_range":
        at = f"(0, {var}) at tau {digits(arguments['tau'])}"
        return f"the fixed point {at}, for which lam and alpha are made, attracts exactly for omega {between}"
    made = f"lam and alpha made for the fixed point (0, {var}) at omega 0, tau 1"
    return f"with {made}, a fixed point with var > 0 at omega = 0 exists, and attracts, exactly for tau {between}"
