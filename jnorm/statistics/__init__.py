"""Statistics of many runs: intervals, paired tests, ranks, power, and verdicts by rules that are declared before.

What is asked of arrays are functions of arrays, under ``jit`` and ``vmap`` as elsewhere. Rules and verdicts work on the
host, in double precision. Every statistic names the axis of the runs.
"""

from jnorm.statistics._bca import Interval
from jnorm.statistics._bootstrap import bootstrap
from jnorm.statistics._components import Bounds, Components, components, intervals, subsets
from jnorm.statistics._effects import cliffs_delta, cohen_d, cohen_d_paired, hedges_g, probability_of_superiority
from jnorm.statistics._ensembles import Ensembles, ensembles
from jnorm.statistics._holm import holm
from jnorm.statistics._judging import compare, correct, judge
from jnorm.statistics._location import iqm, mean, median
from jnorm.statistics._methods import METHODS
from jnorm.statistics._paired import PairedTest, permutation, sign_test, wilcoxon
from jnorm.statistics._power import detectable, equivalence_power, equivalence_size, power, sample_size
from jnorm.statistics._ranks import FriedmanTest, average_ranks, critical_difference, friedman, ranks
from jnorm.statistics._reduced import Tuned, averaged, tuned
from jnorm.statistics._report import report
from jnorm.statistics._roles import runs_of
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, Runs
from jnorm.statistics._sequential import Interim, Sequential, sequential
from jnorm.statistics._summary import Summary, summary
from jnorm.statistics._tasks import (
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)
from jnorm.statistics._tuning import TuningCurve, expected_best, tuning_curve
from jnorm.statistics._verdicts import Setting, Verdict

__all__ = [
    "METHODS",
    "Bounds",
    "Components",
    "Ensembles",
    "FriedmanTest",
    "Interim",
    "Interval",
    "PairedTest",
    "Result",
    "Rule",
    "Runs",
    "Sequential",
    "Setting",
    "Summary",
    "Tuned",
    "TuningCurve",
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
    "ensembles",
    "equivalence_power",
    "equivalence_size",
    "expected_best",
    "friedman",
    "hedges_g",
    "holm",
    "intervals",
    "iqm",
    "judge",
    "mean",
    "median",
    "optimality_gap",
    "performance_profile",
    "permutation",
    "power",
    "probability_of_improvement",
    "probability_of_superiority",
    "ranks",
    "report",
    "runs_of",
    "sample_size",
    "sequential",
    "sign_test",
    "stratified_bootstrap",
    "subsets",
    "summary",
    "tuned",
    "tuning_curve",
    "wilcoxon",
]
