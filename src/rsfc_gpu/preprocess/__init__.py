"""Raw runs: slice timing, realignment, normalisation to a template, smoothing, and the chain of them."""

from rsfc_gpu.preprocess.chain import NormalisationError, Preprocessed, PreprocessSettings, RealignmentError, preprocess
from rsfc_gpu.preprocess.normalise import normalise
from rsfc_gpu.preprocess.realign import Realignment, exclusion_reason, realign
from rsfc_gpu.preprocess.slice_timing import correct_slice_timing, slice_times
from rsfc_gpu.preprocess.smooth import smooth
from rsfc_gpu.preprocess.template import tissue_masks
from rsfc_gpu.preprocess.warp import Warp

__all__ = [
    "NormalisationError",
    "PreprocessSettings",
    "Preprocessed",
    "Realignment",
    "RealignmentError",
    "Warp",
    "correct_slice_timing",
    "exclusion_reason",
    "normalise",
    "preprocess",
    "realign",
    "slice_times",
    "smooth",
    "tissue_masks",
]
