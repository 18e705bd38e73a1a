"""Cleaning along time: motion measures, the steps, and the operator they fold into."""

from rsfc_gpu.denoise.motion import FdKind, check_motion, framewise_displacement, friston24, kept_volumes
from rsfc_gpu.denoise.operator import TemporalOperator
from rsfc_gpu.denoise.settings import DenoiseSettings, TooFewDegreesOfFreedom, denoising_operator, denoising_steps
from rsfc_gpu.denoise.steps import Step, bandpass, cut, detrend, polynomials, project_jointly, regress, stages_of

__all__ = [
    "DenoiseSettings",
    "FdKind",
    "Step",
    "TemporalOperator",
    "TooFewDegreesOfFreedom",
    "bandpass",
    "check_motion",
    "cut",
    "denoising_operator",
    "denoising_steps",
    "detrend",
    "framewise_displacement",
    "friston24",
    "kept_volumes",
    "polynomials",
    "project_jointly",
    "regress",
    "stages_of",
]
