"""The settings of a cleaning chain, and the chain they describe."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.denoise.motion import FdKind, friston24
from rsfc_gpu.denoise.operator import TemporalOperator
from rsfc_gpu.denoise.steps import Padding, Step, bandpass, cut, detrend, polynomials, project_jointly, regress
from rsfc_gpu.errors import InputError

MotionModel = Literal["friston24-lagged", "friston24-derivative", "6", "none"]
TISSUES = ("white_matter", "csf", "global")
HIGHEST_ORDER = 30  # a trend for every two minutes of an hour; more is a typing error
_WHOLE = ("polynomial_order", "scrub_before", "scrub_after")
_CHOICES: dict[str, tuple[str, ...]] = {
    "motion_model": ("friston24-lagged", "friston24-derivative", "6", "none"),
    "padding": ("power-of-two", "none"),
    "order": ("sequential", "joint"),
    "scrub": ("cut", "regress", "none"),
    "fd_kind": ("power", "jenkinson", "van_dijk"),
}


class TooFewDegreesOfFreedom(InputError):
    """Too little of a run is left after cleaning: a reason to leave the run out, not a fault of its files."""


@dataclass(frozen=True, kw_only=True)
class DenoiseSettings:
    """How the series of a run are cleaned along time. The defaults are the preset `dparsf`.

    Attributes
    ----------
    detrend_first : remove a straight line before anything else; tissue signals are then those of the detrended data.
    polynomial_order : of the trend that is regressed out, 0 (the constant alone) to 30.
    motion_model : Friston's 24 regressors with lagged parameters or with their derivatives, "6" for the parameters
        themselves, or none.
    tissue_signals : which mean series are regressed out: "white_matter", "csf", "global".
    add_mean : the cleaned image carries each voxel's mean intensity; no effect on correlations.
    low_hz, high_hz : pass band, hertz; `high_hz` 0 keeps everything above `low_hz`.
    padding : before the filter, zeros up to the next power of two as in DPABI, or none; no meaning for order "joint".
    order : "sequential" regresses, then filters, then cuts; "joint" is one projection on the kept volumes.
    scrub : "cut" deletes bad volumes; "regress" gives each its own regressor; "none" keeps all.
    fd_kind : which framewise displacement finds bad volumes; see `framewise_displacement`.
    fd_threshold_mm : a volume that moved more, mm, is bad.
    scrub_before, scrub_after : volumes scrubbed with each bad one, before and after it.
    minimum_dof : a run that retains fewer degrees of freedom than this is refused.

    Raises
    ------
    InputError : a value outside its choices; the message names them.
    """

    detrend_first: bool = False
    polynomial_order: int = 2
    motion_model: MotionModel = "friston24-lagged"
    tissue_signals: tuple[str, ...] = TISSUES
    add_mean: bool = False
    low_hz: float = 0.01
    high_hz: float = 0.1
    padding: Padding = "power-of-two"
    order: Literal["sequential", "joint"] = "sequential"
    scrub: Literal["cut", "regress", "none"] = "cut"
    fd_kind: FdKind = "power"
    fd_threshold_mm: float = 0.5
    scrub_before: int = 1
    scrub_after: int = 1
    minimum_dof: float = 20.0

    def __post_init__(self) -> None:
        given: object = self.tissue_signals
        if isinstance(given, str):
            raise InputError(f"tissue_signals = {self.tissue_signals!r}: expected a list, such as ['csf']")
        object.__setattr__(self, "tissue_signals", tuple(self.tissue_signals))
        for field in _WHOLE:
            if not isinstance(getattr(self, field), (int, np.integer)):
                raise InputError(f"{field} = {getattr(self, field)!r}: expected a whole number")
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise InputError(f"{field} = {getattr(self, field)!r}: expected one of {', '.join(choices)}")
        for tissue in self.tissue_signals:
            if tissue not in TISSUES:
                raise InputError(f"tissue_signals holds {tissue!r}: expected some of {', '.join(TISSUES)}")
        for field in (*_WHOLE, "low_hz", "high_hz", "fd_threshold_mm", "minimum_dof"):
            value = getattr(self, field)
            if not isinstance(value, (int, float, np.number)) or not value >= 0:
                raise InputError(f"{field} = {value!r}: expected a number that is not negative")

        if self.polynomial_order > HIGHEST_ORDER:
            raise InputError(f"polynomial_order = {self.polynomial_order}: expected 0 to {HIGHEST_ORDER}")
        if 0 < self.high_hz <= self.low_hz:
            raise InputError(f"low_hz = {self.low_hz}, high_hz = {self.high_hz}: expected low_hz below high_hz")

    @classmethod
    def preset(cls, name: str) -> DenoiseSettings:
        """The settings called "dparsf" (the published study) or "recommended" (censoring before estimation).

        `recommended` takes the six motion parameters, white matter and CSF, so that short runs keep enough degrees
        of freedom; no global signal.
        """
        if name == "dparsf":
            return cls()
        if name == "recommended":
            return cls(order="joint", motion_model="6", tissue_signals=("white_matter", "csf"), padding="none")
        raise InputError(f"unknown preset {name!r}: expected dparsf or recommended")

    def replace(self, **changes: Any) -> DenoiseSettings:
        """A copy with some fields changed; an unknown field is an InputError that names the nearest one."""
        fields = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in fields:
                near = difflib.get_close_matches(name, fields, n=1)
                hint = f"; did you mean {near[0]}?" if near else f": expected one of {', '.join(fields)}"
                raise InputError(f"unknown denoise setting {name!r}{hint}")
        return dataclasses.replace(self, **changes)

    @property
    def needs_motion(self) -> bool:
        """Whether the chain needs motion parameters."""
        return self.motion_model != "none" or self.scrub != "none"


def denoising_steps(
    settings: DenoiseSettings,
    *,
    tr_s: float,
    kept: NDArray[np.bool_],
    motion: NDArray[np.float64] | None,
    tissues: Mapping[str, NDArray[np.float64]],
) -> list[Step]:
    """The chain that `settings` describe, for one run.

    Parameters
    ----------
    kept : (T,) the volumes that survive scrubbing.
    motion : (T, 6), or None where `settings` use no motion regressors.
    tissues : mean series (T,) of each tissue that `settings` name.

    References
    ----------
    DPABI 5.0, DPARSFA_run: order of the steps and of the columns, all columns but the constant demeaned.
    """
    n_volumes = len(kept)
    first: list[Step] = [detrend()] if settings.detrend_first else []
    columns = [polynomials(n_volumes, settings.polynomial_order)]
    if settings.motion_model != "none":
        assert motion is not None
        kind = settings.motion_model.removeprefix("friston24-")
        columns.append(motion if kind == "6" else friston24(motion, kind))  # type: ignore[arg-type]
    if settings.scrub == "regress":
        columns.append(np.eye(n_volumes)[:, ~kept])
    if settings.tissue_signals:
        signals = np.column_stack([tissues[name] for name in settings.tissue_signals])
        for step in first:
            signals = step(signals)
        columns.append(signals)
    nuisance = np.hstack(columns)
    nuisance[:, 1:] -= nuisance[:, 1:].mean(axis=0)
    band = {"tr_s": tr_s, "low_hz": settings.low_hz, "high_hz": settings.high_hz}
    rows = kept if settings.scrub == "cut" else np.ones(n_volumes, dtype=bool)
    if settings.order == "joint":
        return [*first, project_jointly(nuisance, rows, **band)]
    steps = [*first, regress(nuisance), bandpass(**band, padding=settings.padding)]
    return steps if rows.all() else [*steps, cut(rows)]


def denoising_operator(settings: DenoiseSettings, steps: list[Step], kept: NDArray[np.bool_]) -> TemporalOperator:
    """The operator of the chain, or InputError where it retains fewer than `settings.minimum_dof`."""
    n_kept = int(kept.sum())
    scrubbed = f"{len(kept) - n_kept} of {len(kept)} volumes lost to scrubbing at {settings.fd_threshold_mm} mm"
    if settings.scrub == "cut" and n_kept < 2:
        raise TooFewDegreesOfFreedom(f"{n_kept} volumes are left: {scrubbed}")
    operator = TemporalOperator.from_steps(steps, len(kept))
    if operator.dof < settings.minimum_dof:
        raise TooFewDegreesOfFreedom(
            f"{operator.dof:.1f} degrees of freedom are left, at least {settings.minimum_dof:g} are needed "
            f"({scrubbed}; {settings.low_hz}-{settings.high_hz} Hz)"
        )
    return operator
