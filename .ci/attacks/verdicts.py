"""Attacks on verdicts, whole: ``python .ci/attacks/verdicts.py [SIMULATIONS]``.

Simulated experiments whose truth lies exactly at the bound, over methods, designs, laws and numbers of runs. Prints
what was counted, and ends with 1 where a p-value and its interval disagree, or where a rule errs more than 1.2 times as
often as it promises without its docstring saying so.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks import verdicts
from jnorm.statistics import METHODS

SAID = {  # in the docstring of `Rule`
    **dict.fromkeys(("t", "permutation", "wilcoxon"), ("lognormal",)),
    "bootstrap-mean": ("lognormal", "heavy-tailed"),
    "brunner-munzel": tuple(verdicts.LAWS),
}


def main(sims: int) -> int:
    """The exit status."""
    counted, wrong = 0, []
    for method, entry in METHODS.items():
        for paired in (True, False):
            for law in verdicts.LAWS if (entry.paired if paired else entry.unpaired) else ():
                for n in verdicts.RUNS:
                    count = verdicts.simulations(method, n, sims)
                    above, below, _, _, disagree = verdicts.experiments(method, law, n, paired, count)
                    counted += count
                    tail = verdicts.LEVEL / 2
                    share = max((above <= tail).mean(), (below <= tail).mean())
                    # z = 4 of so many simulations, the larger of two sides; six runs of a bootstrap have 1.3 times.
                    most = 1.2 * tail * (1.1 if method.startswith("bootstrap") and n == 6 else 1)
                    if share > most + 4 * (most / count) ** 0.5 and law not in SAID.get(method, ()):
                        wrong.append(f"{method}, {law}, n = {n}: {100 * share:.1f} % of {count}")
                    if disagree:
                        wrong.append(f"{method}, {law}, n = {n}: p and interval disagree {disagree} times")
    print(f"{counted} experiments at the bound; {len(wrong)} unexpected")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else verdicts.SIMULATIONS))
