"""The whole temporal cleaning of a run as one small matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.errors import InputError

LinearStep = Callable[[NDArray[np.float64]], NDArray[np.float64]]
SMALLEST_PIVOT = 1e-6  # absolute: a padded filter's singular values decay without a gap, and the input is the identity


@dataclass(frozen=True, eq=False)
class TemporalOperator:
    """A chain of cleaning steps, factored: cleaned = expander @ (compressor @ series), up to the mean of each voxel.

    The expander's columns are orthonormal and sum to zero, so that Pearson r between two compressed series equals
    Pearson r between the cleaned ones.

    Attributes
    ----------
    compressor : (K, T).
    expander : (T_kept, K).
    rank : K, the numerical rank of the chain.
    dof : tr(M M')^2 / tr((M M')^2) of the chain M; K for a projector. The SD of r between two cleaned white noises
        is 1 / sqrt(dof).
    """

    compressor: NDArray[np.float64]
    expander: NDArray[np.float64]
    rank: int
    dof: float

    @classmethod
    def from_steps(cls, steps: Sequence[LinearStep], n_volumes: int) -> TemporalOperator:
        """Run the chain once on the identity, centre over the kept rows, and factor the result.

        Parameters
        ----------
        steps : applied in order; each maps (T, n) to (T', n) and is linear.
        n_volumes : T, before any step.

        Returns
        -------
        An operator; one of rank 0 and dof 0 where the chain retains nothing.

        Raises
        ------
        InputError : the steps amplify (their largest singular value exceeds 1), or no volume is left.
        """
        # One thread: matrices of this size lose more to waking a second one than they gain.
        with one_blas_thread():
            chain = np.eye(n_volumes) - 1.0 / n_volumes  # the identity on centred series
            for step in steps:
                chain = step(chain)
            if len(chain) == 0:
                raise InputError("no volume is left after scrubbing")
            chain = chain - chain.mean(axis=0)
            q, r, order = scipy.linalg.qr(chain, mode="economic", pivoting=True)
            rank = int((np.abs(np.diag(r)) > SMALLEST_PIVOT).sum())
            compressor = np.empty((rank, n_volumes))
            compressor[:, order] = r[:rank]
            compressor -= compressor.mean(axis=1, keepdims=True)
            # The Gram matrix of the compressor has the singular values of the chain, squared.
            power = np.linalg.eigvalsh(compressor @ compressor.T) if rank else np.zeros(1)
        if power[-1] > (1 + 1e-9) ** 2:
            raise InputError(f"the cleaning steps amplify by {np.sqrt(power[-1]):.6g}: each must be a contraction")
        dof = float(power.sum() ** 2 / (power**2).sum()) if rank else 0.0
        return cls(compressor, np.ascontiguousarray(q[:, :rank]), rank, dof)
