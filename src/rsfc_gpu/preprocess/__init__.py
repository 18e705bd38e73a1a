"""Raw runs: slice timing, realignment, normalisation to a template, smoothing, and the chain of them."""

from rsfc_gpu.preprocess.realign import Realignment, exclusion_reason, realign
from rsfc_gpu.preprocess.slice_timing import correct_slice_timing, slice_times
from rsfc_gpu.preprocess.smooth import smooth

__all__ = ["Realignment", "correct_slice_timing", "exclusion_reason", "realign", "slice_times", "smooth"]
