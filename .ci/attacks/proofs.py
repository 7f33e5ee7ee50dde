"""Attacks on the proofs, whole: ``python .ci/attacks/proofs.py [forging] [falsifying] [enclosures] [shipped]``.

Prints what was counted, and ends with 1 where a forged file was accepted, a bound passed, or an enclosure missed.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.proofs import falsifying, forging


def forge():
    """Every kind of tampering, and 5000 random mutations of each honest file in turn."""
    from tests.proofs.test_forging import STILL_TRUE

    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forged.json"
        files = forging.contents(Path(folder))
        for name, content in files.items():
            path.write_text(forging.signed(content))
            expected = [(forging.CLAIMED[name], forging.CLAIMED[name])]
            if forging.shown_by_both(path) != [expected, expected]:
                wrong.append(f"honest: {name}")
        refused = [0, 0]
        for name in forging.KINDS:
            path.write_text(forging.forged(files, name))
            for k, outcome in enumerate(forging.shown_by_both(path)):
                refused[k] += not forging.accepted(outcome)
                if forging.accepted(outcome) and not (k and name in STILL_TRUE):
                    wrong.append(f"{('library', 'second checker')[k]} accepts {name}")
        print(
            f"  {len(files)} honest files; {len(forging.KINDS)} kinds of tampering: the library refuses {refused[0]},"
        )
        print(f"  the second checker {refused[1]} (it shows {', '.join(STILL_TRUE)} true, by halving leaves)")
        counts, false = forging.mutate(files, Path(folder), 5000, seed=11)
        print(f"  5000 mutations: {counts}")
    return wrong + false


def falsify():
    """Optimized points against every bound, trajectories against paths, iteration against fixed points and ranges."""
    wrong = []
    for attack, count in ((falsifying.falsify, 150), (falsifying.follow, 6), (falsifying.attract, 40)):
        counts, found = attack(count, seed=12)
        print(f"  {attack.__name__}: {counts}, violations: {len(found)}")
        wrong += found
    return wrong


def enclose():
    """Points in their enclosures."""
    from tests.proofs.test_enclosures import enclose

    print(f"  {enclose(100_000, 13)}")
    return []


def shipped():
    """Every certificate that the experiment writes, and the stored file, by both checkers."""
    from experiments.certificate import prove
    from jnorm.proofs import certificate
    from tests.proofs import checker
    from tests.proofs.test_forging import STORED

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "certificate.json"
        certificate.write(path, prove(tol=1e-9, budget=20_000))
        rows = [(v.claimed, v.holds) for place in (path, STORED) for v in certificate.check(place)]
        rows += [row[1:] for place in (path, STORED) for row in checker.check(place)]
    print(
        f"  {len(rows) // 2} certificates, each by two checkers; accepted {sum(a is True is b for a, b in rows)} times"
    )
    return [row for row in rows if row != (True, True)]


SUITES = {"forging": forge, "falsifying": falsify, "enclosures": enclose, "shipped": shipped}
if __name__ == "__main__":
    failures = []
    for name in sys.argv[1:] or SUITES:
        start = time.perf_counter()
        print(name, flush=True)
        found = SUITES[name]()
        print(
            f"  {time.perf_counter() - start:.0f} s, {len(found)} failures",
            *map(str, found[:5]),
            sep="\n  ",
            flush=True,
        )
        failures += found
    sys.exit(bool(failures))
