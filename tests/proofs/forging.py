"""Files that say what is not shown: each kind of tampering as a function of a certificate, and random mutations."""

import copy
import hashlib
import json
import math
import random

from jnorm.proofs import certificate as proofs
from tests.proofs import checker

MEAN, VAR = (-0.1, 0.1), (0.8, 1.5)
CERTIFICATES = {
    "theorem 1": lambda: proofs.theorem1(),
    "refuted": lambda: proofs.theorem2(var=(2.45, 16)),
    "theorem 3": lambda: proofs.theorem3(),
    "undecided": lambda: proofs.variance_decreases(0.0, (1.0, 2.0), 0.0, 1.0),
    "metric": lambda: proofs.contraction(MEAN, VAR, p=0.64),
    "image": lambda: proofs.image_box(MEAN, VAR, (-0.3, 0.1)),
    "gradient": lambda: proofs.gradient_bounds(MEAN, VAR),
    "limit": lambda: proofs.limit_set(MEAN, VAR, omega=0.0, tau=1.0, layers=3),
    "global": lambda: proofs.global_convergence(0.0, 1.0, layers=12),
    "omega": lambda: proofs.omega_range(),
    "tau": lambda: proofs.tau_range(),
    "point": lambda: proofs.fixed_point(0.1, 1.05),
}
CLAIMED = {name: True for name in CERTIFICATES} | {"refuted": False, "undecided": None}
KINDS = {}


def kind(of):
    def enter(change):
        KINDS[change.__name__] = of, change
        return change

    return enter


def contents(folder):
    """The content of a file for each of the certificates."""
    path, files = folder / "honest.json", {}
    for name, prove in CERTIFICATES.items():
        proofs.write(path, [prove()])
        files[name] = json.loads(path.read_text())
    return files


def signed(content):
    """The text of a file with a digest that fits."""
    content = {name: value for name, value in content.items() if name != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "digest": hashlib.sha256(text.encode()).hexdigest()})


def shown_by_both(path):
    """What the library and the second checker say that the file shows: pairs of claim and outcome, or the refusal."""
    results = []
    for read in (
        lambda: [(v.claimed, v.holds) for v in proofs.check(path)],
        lambda: [r[1:] for r in checker.check(path)],
    ):
        try:
            results.append(read())
        except (
            ValueError,
            AssertionError,
            LookupError,
            TypeError,
            ArithmeticError,
            AttributeError,
            StopIteration,
        ) as error:
            results.append(error)
    return results


def forged(files, name):
    """The text of a file with this kind of tampering."""
    of, change = KINDS[name]
    content = copy.deepcopy(files[of])
    changed = change(content["certificates"][0], content)
    return changed if isinstance(changed, str) else signed(content)


def accepted(outcome):
    """Whether a checker takes the file for what it claims."""
    return not isinstance(outcome, Exception) and any(said is not None and said is shown for said, shown in outcome)


def scaled(x, factor):
    return [end * factor for end in x]


def drop(entry, *beginnings):
    entry["proofs"] = [p for p in entry["proofs"] if not p["claim"].startswith(beginnings)]


@kind("theorem 1")
def drop_the_last_leaf(e, _):
    e["proofs"][0]["boxes"].pop()


@kind("metric")
def drop_a_leaf(e, _):
    e["proofs"][0]["boxes"].pop(7)


@kind("theorem 3")
def drop_all_leaves(e, _):
    e["proofs"][1]["boxes"] = []


@kind("theorem 1")
def leaves_are_null(e, _):
    e["proofs"][0]["boxes"] = None


@kind("metric")
def narrow_a_leaf(e, _):
    box = e["proofs"][0]["boxes"][3]
    box[3] = math.nextafter(box[3], 0)


@kind("metric")
def merge_the_leaves(e, _):
    columns = list(zip(*e["proofs"][0]["boxes"], strict=True))
    e["proofs"][0]["boxes"] = [[min(columns[0]), max(columns[1]), min(columns[2]), max(columns[3])]]


@kind("metric")
def turn_a_leaf_round(e, _):
    box = e["proofs"][0]["boxes"][3]
    box[2], box[3] = box[3], box[2]


@kind("theorem 1")
def leaves_of_another_inequality(e, _):
    e["proofs"][0]["boxes"] = e["proofs"][1]["boxes"]


@kind("metric")
def one_leaf_twice_for_another(e, _):
    e["proofs"][0]["boxes"][5] = e["proofs"][0]["boxes"][6]


@kind("theorem 1")
def a_leaf_of_three_numbers(e, _):
    e["proofs"][0]["boxes"][0].pop()


@kind("theorem 1")
def a_leaf_is_not_a_number(e, _):
    e["proofs"][0]["boxes"][0][0] = math.nan


@kind("theorem 1")
def sharpen_the_bound(e, _):
    e["proofs"][0]["bound"][1] -= 1e-6


@kind("theorem 1")
def sharpen_the_bound_by_a_hair(e, _):
    low, _ = e["proofs"][0]["bound"]
    e["proofs"][0]["bound"] = [math.nextafter(low, 0), math.nextafter(low, 0)]


@kind("theorem 1")
def raise_the_inner_bound(e, _):
    e["proofs"][0]["bound"][0] = e["proofs"][0]["bound"][1]


@kind("image")
def narrow_an_extreme(e, _):
    e["proofs"][0]["bound"][0] += 1e-6


@kind("image")
def widen_an_extreme(e, _):
    e["proofs"][1]["bound"][1] += 1e-3


@kind("gradient")
def extremes_without_ends(e, _):
    for proof in e["proofs"]:
        proof["bound"] = [None, None]


@kind("theorem 1")
def bound_without_an_end(e, _):
    e["proofs"][0]["bound"].pop()


@kind("theorem 1")
def no_bound(e, _):
    del e["proofs"][0]["bound"]


@kind("theorem 1")
def a_bound_of_text(e, _):
    e["proofs"][0]["bound"][1] = "0.8"


@kind("gradient")
def turn_a_bound_round(e, _):
    e["proofs"][0]["bound"].reverse()


@kind("omega")
def move_a_closed_form(e, _):
    e["proofs"][1]["bound"] = scaled(e["proofs"][1]["bound"], 1 + 1e-9)


@kind("tau")
def sharpen_a_closed_form(e, _):
    e["proofs"][1]["bound"] = scaled(e["proofs"][1]["bound"], 1 + 1e-14)


@kind("tau")
def a_closed_form_without_ends(e, _):
    e["proofs"][0]["bound"] = [None, None]


@kind("theorem 1")
def no_point(e, _):
    e["proofs"][0]["point"] = None


@kind("image")
def a_point_outside(e, _):
    e["proofs"][0]["point"][0] = 0.11


@kind("theorem 1")
def a_point_of_three_numbers(e, _):
    e["proofs"][0]["point"].pop()


@kind("refuted")
def a_counterexample_that_is_none(e, _):
    e["proofs"][0]["point"] = [0.0, 16.0, 0.0, 1.0]


@kind("refuted")
def refuted_is_proved(e, _):
    e["holds"] = True


@kind("theorem 1")
def proved_is_refuted(e, _):
    e["holds"] = False


@kind("undecided")
def undecided_is_proved(e, _):
    e["holds"] = True


@kind("undecided")
def undecided_is_refuted(e, _):
    e["holds"] = False


@kind("theorem 1")
def an_outcome_of_text(e, _):
    e["holds"] = "true"


@kind("theorem 1")
def an_outcome_of_one(e, _):
    e["holds"] = 1


@kind("theorem 1")
def no_outcome(e, _):
    del e["holds"]


for argument, value in {"mean": [-0.1, 0.101], "var": [0.8, 1.6], "omega": [-0.11, 0.1], "tau": [0.95, 1.11]}.items():

    def widen(e, _, argument=argument, value=value):
        e["arguments"][argument] = value

    KINDS[f"widen_{argument}"] = "theorem 1", widen
for value in (
    [1.5, 0.8],
    [0.0, 1.5],
    [-1.0, 1.5],
    [0.8, 1e308],
    ["0.8", "1.5"],
    [True, 1.5],
    [],
    [0.8, 1.0, 1.5],
    None,
    {},
    [math.nan, 1.5],
    [0.8, 10**400],
):

    def replace(e, _, value=value):
        e["arguments"]["var"] = value

    KINDS[f"var_is_{str(value)[:20]}"] = "theorem 1", replace
for name, argument, value in (
    ("metric", "p", 0.65),
    ("metric", "p", -0.64),
    ("metric", "p", math.nan),
    ("metric", "p", None),
    ("metric", "self_map", False),
    ("metric", "self_map", "no"),
    ("metric", "target", [0.0, 1.1, 0.0, 1.0]),
    ("metric", "target", [0.0, math.nan, 0.0, 1.0]),
    ("metric", "target", [0.7, 1.0, 0.0, 1.0]),
    ("metric", "target", [0.0, 1.0]),
    ("metric", "depth", 3),
    ("image", "tol", 1e-19),
    ("image", "tol", 0.0),
    ("image", "tol", "1"),
    ("image", "quantity", "gradient factor"),
    ("image", "quantity", "rate"),
    ("omega", "var", 2.0),
    ("tau", "var", 2.0),
    ("omega", "tau", -1.0),
    ("point", "omega", 0.1001),
    ("point", "tau", [1.05, 1.05001]),
    ("global", "norm", 6.0),
    ("global", "norm", -1e9),
    ("global", "tau", [1.0, 1.001]),
    ("global", "omega", [0.0, 0.01]),
    ("limit", "slope", 0.2),
    ("limit", "path", []),
    ("global", "fall", []),
    ("limit", "path", [[[-1, 1], [1, 2]]]),
):

    def exchange(e, _, argument=argument, value=value):
        e["arguments"][argument] = value

    KINDS[f"{name}_{argument}_is_{value}"] = name, exchange


@kind("theorem 1")
def no_tau(e, _):
    del e["arguments"]["tau"]


@kind("theorem 3")
def no_domains(e, _):
    e["arguments"]["domains"], e["proofs"] = [], []


@kind("theorem 3")
def domains_without_proofs(e, _):
    e["arguments"]["domains"].append([[-0.1, 0.1], [0.02, 0.5], [-0.1, 0.1], [0.8, 1.25]])


@kind("theorem 3")
def the_same_domain_for_both(e, _):
    e["arguments"]["domains"][0][1] = [0.02, 0.24]


@kind("theorem 1")
def a_contraction_of_a_line_without_self_map(e, _):
    e["arguments"] |= {"mean": [0.0, 0.0], "var": [0.0, 1.0], "self_map": False}
    e["proofs"] = e["proofs"][:1]


@kind("theorem 3")
def increases_are_decreases(e, _):
    e["statement"] = "variance_decreases"


@kind("theorem 1")
def an_unknown_statement(e, _):
    e["statement"] = "theorem 1"


@kind("theorem 1")
def many_weights_have_one_point(e, _):
    e["statement"] = "fixed_point"


@kind("theorem 1")
def a_limit_set_without_a_path(e, _):
    e["statement"] = "limit_set"


@kind("theorem 1")
def reword_a_claim(e, _):
    e["proofs"][0]["claim"] = "rate < 0.5"


@kind("theorem 1")
def a_level_of_fewer_digits(e, _):
    e["arguments"]["var"] = [0.8, 1.5000001]


@kind("metric")
def a_title(e, _):
    e["title"] = "theorem 1"


@kind("metric")
def a_sentence(e, _):
    e["proposition"] = "SELU trains at any depth"


@kind("theorem 1")
def drop_a_claim(e, _):
    e["proofs"].pop()


@kind("theorem 1")
def state_a_claim_twice(e, _):
    e["proofs"].append(e["proofs"][0])


@kind("theorem 1")
def exchange_two_claims(e, _):
    e["proofs"][1], e["proofs"][2] = e["proofs"][2], e["proofs"][1]


@kind("theorem 1")
def no_claims(e, _):
    e["proofs"] = []


@kind("theorem 1")
def no_certificates(_, content):
    content["certificates"] = []


@kind("theorem 1")
def certificates_are_one_object(e, content):
    content["certificates"] = e


@kind("theorem 1")
def another_format(_, content):
    content["format"] = 1


@kind("theorem 1")
def an_edit_without_its_digest(_, content):
    return json.dumps(content).replace("1.5", "1.6", 1)


@kind("theorem 1")
def a_field_twice(_, content):
    return signed(content).replace('"holds": true', '"holds": false, "holds": true', 1)


@kind("theorem 1")
def half_a_file(_, content):
    return signed(content)[:-100]


@kind("limit")
def a_slope_of_zero(e, _):
    """The strips still cut, and nothing is claimed about them."""
    e["arguments"]["slope"] = 0.0
    e["arguments"]["path"][0][2] = e["arguments"]["path"][0][0]
    drop(e, "mean - p*variance")


@kind("limit")
def a_slope_below_zero(e, _):
    e["arguments"]["slope"] = -1.0
    e["arguments"]["path"][0][2] = [0.7, 1.6]


@kind("limit")
def leave_variance_zero_without_a_claim(e, _):
    e["arguments"]["path"][0][1][0] = 0.0
    low = f"variance > {checker.digits(e['arguments']['path'][1][1][0])}"
    drop(e, low)


@kind("limit")
def shrink_the_last_region(e, _):
    e["arguments"]["path"][-1][0] = scaled(e["arguments"]["path"][-1][0], 0.5)


@kind("limit")
def start_cut(e, _):
    e["arguments"]["path"][0][2] = scaled(e["arguments"]["path"][0][2], 0.5)


@kind("limit")
def skip_a_region(e, _):
    e["arguments"]["path"].pop(1)
    e["proofs"] = e["proofs"][6:]


@kind("limit")
def start_from_a_larger_rectangle(e, _):
    e["arguments"]["path"][0][:2] = [[-0.2, 0.2], [0.7, 1.6]]


@kind("limit")
def an_empty_strip(e, _):
    e["arguments"]["path"][1][2] = [5.0, 6.0]


@kind("global")
def a_fall_from_a_smaller_disc(e, _):
    e["arguments"]["fall"][0][0] = [-5.0, 5.0]


@kind("global")
def a_fall_that_leaves_variance_zero(e, _):
    e["arguments"]["fall"][-1][1][0] = 1e-3


@kind("global")
def a_path_that_starts_too_far_in(e, _):
    e["arguments"]["path"][0][0] = [-1.0, 1.0]


@kind("global")
def no_growth_toward_zero(e, _):
    drop(e, "growth")


@kind("global")
def no_bound_far_out(e, _):
    drop(e, "limit norm")


@kind("global")
def all_of_slope_zero(e, _):
    e["arguments"]["slope"] = 0.0
    for path in ("fall", "path"):
        e["arguments"][path][0][2] = e["arguments"][path][0][0]
    drop(e, "mean - p*variance")


def mutated(content, rng):
    """The content with one to three random changes anywhere in its certificate."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        parent, key = content, "certificates"
        while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.9:
            parent = parent[key]
            key = rng.choice(list(parent)) if isinstance(parent, dict) else rng.randrange(len(parent))
        x = parent[key]
        if isinstance(x, int | float) and not isinstance(x, bool) and rng.random() < 0.85:
            step = rng.choice((1e-16, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0)) * rng.choice((-1, 1))
            near = [math.nextafter(x, side * math.inf) for side in (-1, 1)]
            parent[key] = rng.choice((x * (1 + step), x + step, -x, 0.0, *near))
        elif isinstance(x, list) and len(x) > 1 and rng.random() < 0.7:
            i, j = rng.randrange(len(x)), rng.randrange(len(x))
            changed = rng.choice((x[:i] + x[i + 1 :], [*x, x[i]], [*x[:i], x[j], *x[i + 1 :]]))
            parent[key] = copy.deepcopy(changed)
        else:
            parent[key] = rng.choice((None, True, False, 0, 1.0, -1.0, 1e308, "x", "contraction", [], {}, [0.0, 1.0]))
    return content


def mutate(files, folder, count, seed):
    """Counts of random mutations: refused, accepted and true by the second checker, accepted and not; the last ones."""
    rng, path = random.Random(seed), folder / "mutated.json"
    names = [name for name in CERTIFICATES if CLAIMED[name] is not None and name != "global"]
    counts, wrong = {"unchanged": 0, "refused": 0, "accepted and shown a second way": 0, "accepted and false": 0}, []
    for _ in range(count):
        name = rng.choice(names)
        content = mutated(files[name], rng)
        if content == files[name]:
            counts["unchanged"] += 1
            continue
        path.write_text(signed(content))
        try:
            outcome = [(v.claimed, v.holds) for v in proofs.check(path)]
        except ValueError as error:
            outcome = error
        if not accepted(outcome):
            counts["refused"] += 1
            continue
        true = accepted(shown_by_both(path)[1])
        counts["accepted and shown a second way" if true else "accepted and false"] += 1
        if not true:
            wrong.append(path.read_text())
    return counts, wrong
