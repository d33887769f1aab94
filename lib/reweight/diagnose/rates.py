"""Intervals and tests for rates and for ratios of rates.

The Mantel-Haenszel ratio of the rates a_i / n1_i and c_i / n0_i over strata i, N_i = n1_i + n0_i:
    ratio = R / S;  R = sum_i a_i n0_i / N_i;  S = sum_i c_i n1_i / N_i
    var log ratio = V / (R S);  V = sum_i (n1_i n0_i (a_i + c_i) / N_i^2 - a_i c_i / N_i)
(Greenland and Robins 1985, Biometrics 41). One stratum gives the plain ratio of two rates.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from reweight.diagnose.findings import Measure

Array = NDArray[np.float64]
Z95 = 1.959964
# With fewer rows of a class the approximations by a normal distribution do not hold.
LEAST_POSITIVES = 10
# Degrees of freedom with which an F is a chi-square.
_MANY = 10_000


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error; for a ratio, that of its logarithm.

    Attributes:
        value: the number.
        error: its standard error.
        freedom: degrees of freedom of the error, where few groups show how much they vary.
    """

    value: float
    error: float
    freedom: float = math.inf

    @property
    def reach(self) -> float:
        """How far the 95 % interval reaches to each side."""
        return float(scipy.stats.t.ppf(0.975, self.freedom)) * self.error

    def measure(self, name: str) -> Measure:
        """The number with its 95 % interval."""
        return Measure(name, self.value, self.value - self.reach, self.value + self.reach)

    def measure_ratio(self, name: str) -> Measure:
        """The ratio whose logarithm this is, with its 95 % interval."""
        low, middle, high = (math.exp(self.value + side * self.reach) for side in (-1.0, 0.0, 1.0))
        return Measure(name, middle, low, high)

    def p_beyond(self, limit: float) -> float:
        """One-sided p-value for the hypothesis that the true |value| is at most the limit."""
        excess = (abs(self.value) - limit) / max(self.error, 1e-12)
        return float(scipy.stats.t.sf(excess, self.freedom))


def log_ratio(r: float, s: float, v: float) -> Estimate | None:
    """Log of the Mantel-Haenszel ratio from its three sums; None if a side has no positive."""
    if min(r, s) <= 0:
        return None
    return Estimate(math.log(r / s), math.sqrt(max(v, 0.0) / (r * s)))


def two_rates(a: float, n1: float, c: float, n0: float) -> Estimate | None:
    """Log of the ratio of the rates a / n1 and c / n0; None if a side has no row or positive."""
    if min(n1, n0) <= 0:
        return None
    n = n1 + n0
    return log_ratio(a * n0 / n, c * n1 / n, n1 * n0 * (a + c) / n**2 - a * c / n)


def share(name: str, hits: float, rows: float) -> Measure:
    """A share with Wilson's interval; effective counts need not be whole numbers."""
    if rows <= 0:
        return Measure(name, 0.0, 0.0, 1.0)
    rate, shrinkage = hits / rows, Z95**2 / rows
    middle = (rate + shrinkage / 2) / (1 + shrinkage)
    reach = math.sqrt(rate * (1 - rate) * shrinkage + shrinkage**2 / 4) / (1 + shrinkage)
    return Measure(name, rate, max(0.0, middle - reach), min(1.0, middle + reach))


def p_above(hits: float, rows: float, limit: float) -> float:
    """p-value for the hypothesis that a share is at most the limit; exact for whole numbers.

    The binomial tail P(K >= hits) as an incomplete beta function, so that counts may be effective.
    """
    return float(scipy.stats.beta.cdf(limit, hits, rows - hits + 1)) if hits > 0 else 1.0


def pooled(hits: Array, rows: Array) -> NDArray[np.intp]:
    """Where pooled parts begin: neighbours are pooled until each expects enough of both classes.

    The last pooled part also takes what is left.

    Args:
        hits: positives of each part in order, [parts].
        rows: rows of each part, [parts].

    Returns:
        The first part of each pooled part, [pooled], as ``np.add.reduceat`` takes them.
    """
    rate = hits.sum() / rows.sum()
    begins, expected = [0], 0.0
    for place, more in enumerate((rows * min(rate, 1 - rate)).tolist(), 1):
        expected += more
        if expected >= LEAST_POSITIVES:
            begins, expected = [*begins, place], 0.0
    return np.array(begins[:-1] or [0])


def p_rates_vary(hits: Array, rows: Array, spread: float, freedom: float = math.inf) -> float:
    """p-value for the hypothesis that the rates have a relative standard deviation <= ``spread``.

    The chi-square statistic against a single rate q is then at most noncentral chi-square, with
    noncentrality n spread^2 q / (1 - q). Numbers that are effective, by a design effect of few
    groups, make it a noncentral F.

    Args:
        hits: positives of each part, [parts]; few rows in a part need ``pooled``.
        rows: rows of each part, [parts].
        spread: standard deviation of the true rates, as a share of their mean.
        freedom: degrees of freedom of the design effect; infinite without one.
    """
    n, q = rows.sum(), hits.sum() / rows.sum()
    if not 0 < q < 1 or len(rows) < 2:
        return 1.0
    statistic = ((hits - rows * q) ** 2 / (rows * q * (1 - q))).sum()
    beyond, between = n * spread**2 * q / (1 - q), len(rows) - 1
    if freedom > _MANY:
        return float(scipy.stats.ncx2.sf(statistic, between, beyond))
    if freedom < 1:
        return 1.0
    one = (
        scipy.stats.ncf(between, freedom, beyond) if beyond > 0 else scipy.stats.f(between, freedom)
    )
    return float(one.sf(statistic / between))
