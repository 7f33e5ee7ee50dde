"""Statistics of many runs: intervals, paired tests, ranks, power, and verdicts by rules that are declared before."""

from jnorm.statistics._components import Bounds, Components, components, intervals, subsets
from jnorm.statistics._effects import cliffs_delta, cohen_d, cohen_d_paired, hedges_g, probability_of_superiority
from jnorm.statistics._estimates import (
    ESTIMATORS,
    Interval,
    bca_interval,
    bca_p_value,
    bootstrap,
    iqm,
    mean,
    median,
    resample,
)
from jnorm.statistics._paired import holm, permutation, sign_test, wilcoxon
from jnorm.statistics._power import detectable, equivalence_power, equivalence_size, power, sample_size
from jnorm.statistics._ranks import average_ranks, critical_difference, friedman, ranks
from jnorm.statistics._rules import Rule
from jnorm.statistics._runs import Result, Runs, averaged, tuned
from jnorm.statistics._summary import Summary, summary
from jnorm.statistics._verdicts import Setting, Verdict, compare, correct, judge

__all__ = [
    "ESTIMATORS",
    "Bounds",
    "Components",
    "Interval",
    "Result",
    "Rule",
    "Runs",
    "Setting",
    "Summary",
    "Verdict",
    "average_ranks",
    "averaged",
    "bca_interval",
    "bca_p_value",
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
    "resample",
    "sample_size",
    "sign_test",
    "subsets",
    "summary",
    "tuned",
    "wilcoxon",
]
