"""Statistics of many runs: intervals, paired tests, ranks, power, and verdicts by rules that are declared before.

What is asked of arrays are functions of arrays, under ``jit`` and ``vmap`` as elsewhere. Rules and verdicts work on the
host, in double precision. Every statistic names the axis of the runs.
"""

from jnorm.statistics._bca import Interval
from jnorm.statistics._bootstrap import bootstrap
from jnorm.statistics._components import Bounds, Components, components, intervals, subsets
from jnorm.statistics._effects import cliffs_delta, cohen_d, cohen_d_paired, hedges_g, probability_of_superiority
from jnorm.statistics._holm import holm
from jnorm.statistics._judging import compare, correct, judge
from jnorm.statistics._location import iqm, mean, median
from jnorm.statistics._methods import METHODS
from jnorm.statistics._paired import PairedTest, permutation, sign_test, wilcoxon
from jnorm.statistics._power import detectable, equivalence_power, equivalence_size, power, sample_size
from jnorm.statistics._ranks import FriedmanTest, average_ranks, critical_difference, friedman, ranks
from jnorm.statistics._reduced import averaged, tuned
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, Runs
from jnorm.statistics._summary import Summary, summary
from jnorm.statistics._verdicts import Setting, Verdict

__all__ = [
    "METHODS",
    "Bounds",
    "Components",
    "FriedmanTest",
    "Interval",
    "PairedTest",
    "Result",
    "Rule",
    "Runs",
    "Setting",
    "Summary",
    "Verdict",
    "average_ranks",
    "averaged",
    "bootstrap",
    "cliffs_delta",
    "cohen_d",
    "cohen_d_paired",
    "compare",
    "components",
    "correct",
    "critical_difference",
    "detectable",
    "equivalence_power",
    "equivalence_size",
    "friedman",
    "hedges_g",
    "holm",
    "intervals",
    "iqm",
    "judge",
    "mean",
    "median",
    "permutation",
    "power",
    "probability_of_superiority",
    "ranks",
    "sample_size",
    "sign_test",
    "subsets",
    "summary",
    "tuned",
    "wilcoxon",
]
