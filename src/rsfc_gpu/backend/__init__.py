"""HOW voxels are computed: one Protocol, two implementations, chosen once and passed as an argument.

If an array has a voxel axis, a method of the backend does the work; if it has none, it is float64 NumPy on the host.

dtype policy, for the whole package:
operators and statistics float64; voxel series float32 after centring; sums and norms accumulate in float64.

Shape letters: T volumes, V voxels, K retained components, S seeds, N images of a group model, P design columns.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import BackendError, InputError

if TYPE_CHECKING:
    from rsfc_gpu.backend.dct import CosineBasis
    from rsfc_gpu.backend.linear_model import LinearFit
    from rsfc_gpu.backend.rigid import RigidFits, RigidTarget
    from rsfc_gpu.backend.splines import AxisFilters
    from rsfc_gpu.backend.stages import Stage

__all__ = ["Backend", "BackendName", "select_backend"]

BackendName = Literal["auto", "cpu", "cuda"]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

log = logging.getLogger(__name__)


class Backend(Protocol):
    """The operations on voxels. Arrays come in from the host and go back to the host."""

    name: str  #: "cpu" or "cuda"
    device: str  #: the device in words, for logs and reports

    def smooth(self, volume: F32, fwhm_voxels: ArrayLike) -> F32:
        """Gaussian smoothing of one volume (X, Y, Z); as `numba_kernels.smooth_x`, `_y` and `_z`."""
        ...

    def correlate(self, samples: NDArray[Any], centre: F64, compressor: F64, seeds: F64) -> tuple[F32, F32, F32]:
        """Pearson r and Fisher z of every voxel with every seed, after temporal cleaning.

        Parameters
        ----------
        samples : (T, V) the series as stored, any real dtype.
        centre : (V,) subtracted from each voxel before the product is formed in float32.
        compressor : (K, T) from a `TemporalOperator`.
        seeds : (T, S) seed series, uncleaned.

        Returns
        -------
        r, z : (S, V). z = atanh of r clipped to 1 - 1e-7, formed in float64. A seed without variance gives 0.
        retained : (V,) norm after cleaning over centred norm before; 0 for a constant voxel.
        """
        ...

    def clean(self, samples: NDArray[Any], centre: F64, compressor: F64, expander: F64) -> F32:
        """The cleaned series, (T_kept, V): expander @ (compressor @ (samples - centre))."""
        ...

    def clean_by_stages(self, samples: NDArray[Any], centre: F64, stages: Sequence[Stage]) -> tuple[F32, F32]:
        """As `clean`, but one stage after the other on the voxels' own series, in float64: the check on the operator.

        Returns
        -------
        cleaned : (T_kept, V), each voxel's mean over the kept volumes removed.
        retained : (V,) as `correlate`.
        """
        ...

    def label_clusters(
        self, values: NDArray[Any], neighbours: NDArray[np.int32], threshold: float
    ) -> NDArray[np.int32]:
        """Cluster of each voxel, (V,): 1, 2, ... in the order of their first voxels; 0 where not above `threshold`.

        `values` (V,) real; `neighbours` (V, 6, 18 or 26) from `numba_labels.neighbour_table`.
        """
        ...

    def pool_second_moment(self, samples: F32, basis: F64, blocks: F64, f_above: float) -> tuple[F64, int]:
        """Second moment of the maps over the voxels in which a model explains much, (N, N), and their number.

        Parameters
        ----------
        samples : (N, V).
        basis : (N, r) orthonormal basis of the design. blocks : (N, b) of its subject columns alone.
        f_above : voxels whose F, of the design over the subject columns, exceeds this are pooled: the mean of y y'
            with each y scaled to unit residual variance. No such voxel: zeros.
        """
        ...

    def fit_linear_model(
        self, samples: F32, residuals: F64, linear: F64, n_used: int, inside: NDArray[np.bool_]
    ) -> LinearFit:
        """Least squares at every voxel, with what smoothness needs of the residuals, which are never all in memory.

        Parameters
        ----------
        samples : (N, V) the maps at the voxels of `inside` (X, Y, Z), in Fortran order.
        residuals : (N, N) turns the maps of a voxel into its residuals; the first `n_used` rows enter the smoothness.
        linear : (L, N) other functions of the maps to evaluate.
        """
        ...

    def shift_slices(self, volumes: NDArray[Any], operators: F64) -> F32:
        """A run (T, Z, Y, X), each slice z multiplied along time by operators[z] (T, T), which keeps constants."""
        ...

    def register_rigid(self, volumes: F32, target: RigidTarget, start: F64) -> RigidFits:
        """Where each volume of a run (T, Z, Y, X) lies, by Gauss-Newton from `start` (T, 4, 4)."""
        ...

    def resample(
        self,
        volumes: F32,
        points: F64,
        maps: F64,
        *,
        degree: int,
        fwhm_voxels: ArrayLike = (0.0, 0.0, 0.0),
        out: F32 | None,
    ) -> F32:
        """Mean (Z', Y', X') of a run (T, Z, Y, X), read with B-splines of `degree` 1, 2 or 4 at other positions.

        Parameters
        ----------
        points : (Z', Y', X', 3) voxel positions x, y, z, the same for all volumes.
        maps : (T, 3, 4) takes them to the voxels of each volume.
        fwhm_voxels : x, y, z of the Gaussian that `out`, not the mean, is smoothed with afterwards.
        out : None, or (T, Z', Y', X') for the volumes, 0 where any volume lacks the point; it may be `volumes` itself.

        The mean of a point is over the volumes that have it; 0 where none has.
        """
        ...

    def sample_gradient(self, volume: F32, filters: AxisFilters, points: F64) -> tuple[F64, F64]:
        """A volume (Z, Y, X), filtered, at voxel positions (..., 3): values (...) and derivatives per voxel (..., 3).

        Second-degree B-spline, x, y, z in this order; NaN outside the volume.
        """
        ...

    def warp_equations(self, gradient: F64, residual: F64, templates: F64, basis: CosineBasis) -> tuple[F64, F64]:
        """Normal equations of residual + gradient . (basis @ change) - scales . templates on a grid (Z, Y, X).

        `gradient` (Z, Y, X, 3); `templates` (S, Z, Y, X). Returns the matrix (3K + S, 3K + S) and the right-hand side
        (3K + S,) for the change along x, y, z and the scales.
        """
        ...


def select_backend(
    name: BackendName = "auto", *, threads: int | None = None, max_gpu_memory_bytes: int | None = None
) -> Backend:
    """The backend called `name`; "auto" takes CUDA where a usable GPU is present, else the CPU, and logs why.

    Parameters
    ----------
    name : "auto", "cpu" or "cuda". There is no silent fallback: "cuda" runs on CUDA or raises.
    threads : CPU threads for voxel work; None means all that this process may use.
    max_gpu_memory_bytes : device memory that CUDA may take; None means nine tenths of what is free.

    Raises
    ------
    BackendError : "cuda" was asked for and cannot be used; one line says what is missing.
    InputError : an unknown name.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown backend {name!r}: expected auto, cpu or cuda")
    if name != "cpu":
        from rsfc_gpu.backend import cuda

        missing = cuda.why_unusable()
        if missing is None:
            from rsfc_gpu.backend.cuda_backend import CudaBackend

            return CudaBackend(max_memory_bytes=max_gpu_memory_bytes)
        if name == "cuda":
            raise BackendError(missing)
        log.info("auto: using the CPU, because %s", missing)
    from rsfc_gpu.backend.cpu import CpuBackend

    return CpuBackend(threads=threads)
