"""Random field theory: how often a smooth field without signal has such peaks, clusters, or numbers of clusters.

References
----------
Worsley et al. 1996, Human Brain Mapping 4:58-73 (Euler characteristic densities, peaks).
Friston et al. 1994, Human Brain Mapping 1:210-220; 1996, NeuroImage 4:223-235 (cluster and set level).
Worsley and Friston 2000, Statistics & Probability Letters 47:135-140 (conjunctions).
Agrees with SPM12.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.tails import Dof, Kind, upper_tail, value_at

EPS = float(np.finfo(np.float64).eps)
_LAMBDA = 4 * np.log(2)  # roughness of a field whose full width at half maximum is 1
# sqrt(pi) / gamma((d + 1) / 2), the scale between intrinsic volumes and EC densities of a conjunction
_SCALE = np.sqrt(np.pi) / special.gamma((np.arange(4) + 1) / 2)


def ec_densities(kind: Kind, dof: Dof, height: ArrayLike) -> NDArray[np.float64]:
    """Euler characteristic densities per resel in 0 to 3 dimensions: (4, ...) for heights (...). May be negative.

    Parameters
    ----------
    kind : "Z", "T", "F", or "X" (chi-squared).
    dof : (df1, df2) as in `upper_tail`; may be fractional. An F field with df1 + df2 <= d has no density in d
        dimensions: NaN.

    Notes
    -----
    Chi-squared follows SPM12, whose densities exceed the published ones by height^((d - 1) / 2) in dimension d,
    which makes p larger. No statistic that this package computes is a chi-squared.

    References
    ----------
    Worsley et al. 1996, Human Brain Mapping 4:58-73, table II.
    """
    u = np.clip(np.asarray(height, dtype=np.float64), -1e100, 1e100)  # an infinite height has densities 0, not inf * 0
    rows = {"Z": _gaussian, "T": _t, "F": _f, "X": _chi_squared}
    if kind not in rows:
        raise InputError(f"unknown kind of statistic {kind!r}: expected one of {', '.join(rows)}")
    return np.stack([upper_tail(kind, dof, u), *rows[kind](dof, u)])


def _gaussian(_dof: Dof, u: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    a = np.exp(-(u**2) / 2)
    return [
        _LAMBDA**0.5 / (2 * np.pi) * a,
        _LAMBDA / (2 * np.pi) ** 1.5 * u * a,
        _LAMBDA**1.5 / (2 * np.pi) ** 2 * (u**2 - 1) * a,
    ]


def _t(dof: Dof, u: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    v = dof[1]
    a = np.exp((1 - v) / 2 * np.log1p(u**2 / v))
    gammas = np.exp(special.gammaln((v + 1) / 2) - special.gammaln(v / 2))
    return [
        _LAMBDA**0.5 / (2 * np.pi) * a,
        _LAMBDA / (2 * np.pi) ** 1.5 * gammas / np.sqrt(v / 2) * u * a,
        _LAMBDA**1.5 / (2 * np.pi) ** 2 * ((v - 1) * u**2 / v - 1) * a,
    ]


def _f(dof: Dof, u: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    k, v = dof
    x = k * np.maximum(u, 0.0) / v
    unit = _LAMBDA / (2 * np.pi)
    log_tail = -(v + k - 2) / 2 * np.log1p(x) - special.gammaln(v / 2) - special.gammaln(k / 2)

    def part(d: int) -> NDArray[np.float64]:
        if v + k <= d:
            return np.full(x.shape, np.nan)
        power = special.xlogy((k - d) / 2, x) + special.gammaln((v + k - d) / 2)
        return np.asarray(unit ** (d / 2) * np.exp(power + log_tail))

    return [
        part(1) * np.sqrt(2),
        part(2) * ((v - 1) * x - (k - 1)),
        part(3) / np.sqrt(2) * ((v - 1) * (v - 2) * x**2 - (2 * v * k - v - k - 1) * x + (k - 1) * (k - 2)),
    ]


def _chi_squared(dof: Dof, u: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    v = dof[1]
    x = np.maximum(u, 0.0)
    unit = _LAMBDA / (2 * np.pi)
    # SPM12 has this power of x in all dimensions; Worsley has (v - d) / 2 in dimension d.
    tail = np.exp(special.xlogy((v - 1) / 2, x) - x / 2 - special.gammaln(v / 2) - (v - 2) / 2 * np.log(2))
    return [
        unit**0.5 * tail,
        unit * tail * (x - (v - 1)),
        unit**1.5 * tail * (x**2 - (2 * v - 1) * x + (v - 1) * (v - 2)),
    ]


@dataclass(frozen=True)
class RandomField:
    """A smooth field of statistics under the null hypothesis, searched over a volume of known size and shape.

    Attributes
    ----------
    kind, dof : as in `ec_densities`.
    resels : (4,) resel counts of the search volume in 0 to 3 dimensions.
    conjunction : number of independent fields whose minimum is tested; 1 for an ordinary contrast.

    Raises
    ------
    InputError : too few degrees of freedom: a T field needs at least as many as dimensions, an F field in total more.
        With fewer its denominator is 0 somewhere, and the number of its clusters has no expectation (Worsley 1994,
        Adv. Appl. Probab. 26:13).
    """

    kind: Kind
    dof: Dof
    resels: tuple[float, float, float, float]
    conjunction: int = 1

    def __post_init__(self) -> None:
        df1, df2 = self.dof
        enough = {"T": df2 >= self.dimensions, "F": df1 + df2 > self.dimensions}
        if not enough.get(self.kind, True):
            raise InputError(
                f"{df2:g} degrees of freedom of error are too few for random field theory in {self.dimensions} "
                f"dimensions: {self.kind} needs at least {self.dimensions if self.kind == 'T' else _above(self)}. "
                "Add participants, or leave out covariates."
            )

    @property
    def dimensions(self) -> int:
        """The highest dimension with a resel count."""
        return max((d for d, count in enumerate(self.resels) if count != 0), default=0)

    def expected_clusters(self, height: ArrayLike) -> NDArray[np.float64]:
        """Expected Euler characteristic of the set above `height`, close to the number of clusters; shape of `height`.

        Densities are floored at machine epsilon, as SPM does, so that a low height cannot make it negative.
        """
        used = self.dimensions + 1
        densities = self._densities(height)[:used]
        return np.tensordot(np.asarray(self.resels[:used]), densities, axes=1)

    def expected_extent(self, height: float) -> float:
        """Expected size of a cluster above `height`, resels."""
        densities = self._densities(height)
        return float(densities[0] / densities[self.dimensions])

    def cluster_p(self, extent_resels: ArrayLike, height: float) -> NDArray[np.float64]:
        """P(a cluster above `height` has at least this extent), the uncorrected cluster p; shape of the extent."""
        extent = np.asarray(extent_resels, dtype=np.float64)
        d = self.dimensions
        if d == 0:
            return np.ones_like(extent)
        beta = (special.gamma(d / 2 + 1) / self.expected_extent(height)) ** (2 / d)
        return np.asarray(np.exp(-beta * extent ** (2 / d)))

    def p_of_clusters(self, n_clusters: int, height: float, extent_resels: ArrayLike = 0.0) -> NDArray[np.float64]:
        """P(at least `n_clusters` clusters above `height` have at least this extent); shape of the extent.

        With n_clusters = 1 this is the family-wise p of a cluster; with extent 0, the set-level p.
        """
        expected = (self.expected_clusters(height) + EPS) * self.cluster_p(extent_resels, height)
        return _poisson_tail(n_clusters, expected)

    def peak_fwe(self, value: ArrayLike, n_voxels: int | None = None) -> NDArray[np.float64]:
        """Family-wise p of a peak: from the field, or by Bonferroni over `n_voxels` where that is smaller."""
        field = _poisson_tail(1, self.expected_clusters(value) + EPS)
        if n_voxels is None:
            return field
        bonferroni = n_voxels * upper_tail(self.kind, self.dof, value) ** self.conjunction
        return np.minimum(np.minimum(field, bonferroni), 1.0)

    def peak_p_above(self, value: ArrayLike, height: float) -> NDArray[np.float64]:
        """P(a local maximum above `height` reaches `value`), the p that enters the peak FDR.

        References
        ----------
        Chumbley et al. 2010, NeuroImage 49:3057-3064.
        """
        return np.minimum(self.expected_clusters(value) / self.expected_clusters(height), 1.0)

    def critical_height(self, alpha: float, n_voxels: int | None = None) -> float:
        """The height at which `peak_fwe` equals `alpha`: the voxelwise family-wise threshold."""
        from scipy import optimize

        if not 0 < alpha < 1:
            raise InputError(f"alpha must lie between 0 and 1, found {alpha}")
        # From far out inwards to the first crossing: at low heights the expected Euler characteristic is no tail.
        heights = value_at(self.kind, self.dof, np.logspace(-100, np.log10(0.5), 400))
        reached = np.flatnonzero(self.peak_fwe(heights) >= alpha)
        if len(reached) == 0:  # hardly a resel: any positive value is rare enough
            field = float(heights[-1])
        else:
            outer, inner = heights[reached[0] - 1], heights[reached[0]]
            field = float(optimize.brentq(lambda u: float(self.peak_fwe(u)) - alpha, inner, outer, xtol=1e-12))
        if n_voxels is None:
            return field
        bonferroni = value_at(self.kind, self.dof, (alpha / n_voxels) ** (1 / self.conjunction))
        return min(field, float(bonferroni))

    def _densities(self, height: ArrayLike) -> NDArray[np.float64]:
        """Floored EC densities of the field, (4, ...); of the minimum of several where this is a conjunction."""
        single = np.maximum(ec_densities(self.kind, self.dof, height), EPS)
        if self.conjunction == 1:
            return single
        scale = _SCALE.reshape(-1, *[1] * (single.ndim - 1))
        factor = single * scale
        power = factor
        for _ in range(self.conjunction - 1):  # product of polynomials, cut after the third power
            power = np.stack([sum(power[i] * factor[d - i] for i in range(d + 1)) for d in range(4)])
        return np.asarray(power / scale)


def _above(field: RandomField) -> str:
    """The smallest whole number of error degrees of freedom that an F field can have."""
    return f"{int(np.floor(field.dimensions - field.dof[0])) + 1}"


def _poisson_tail(at_least: int, mean: ArrayLike) -> NDArray[np.float64]:
    """P(Poisson(mean) >= at_least), without cancellation where it is small."""
    mean = np.maximum(np.asarray(mean, dtype=np.float64), 0.0)  # negative in a mask with many holes, at low heights
    return np.asarray(special.gammainc(at_least, mean) if at_least > 0 else np.ones_like(mean))
