"""Low-frequency cosine warps: the basis on a grid, and the curvature of a least-squares fit of them.

The product of two cosines is the mean of two cosines. So the (3K, 3K) curvature of K coefficients per direction needs
no (voxels, K) matrix: six products of gradients, contracted with twice as many cosines per axis, hold all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class CosineBasis:
    """Products of cosines along z, y and x on a grid that may be a regular subset of the voxels.

    Attributes
    ----------
    shape : voxels (Z, Y, X) over which the cosines are orthonormal.
    counts : cosines per axis (z, y, x), frequency 0 included.
    step : every step-th voxel is a grid point, per axis.
    """

    shape: tuple[int, int, int]
    counts: tuple[int, int, int]
    step: tuple[int, int, int] = (1, 1, 1)

    @property
    def size(self) -> int:
        """Coefficients per direction."""
        return int(np.prod(self.counts))

    def scale(self, axis: int) -> NDArray[np.float64]:
        """What makes each cosine along an axis of unit norm over the voxels."""
        n, count = self.shape[axis], self.counts[axis]
        return np.sqrt(np.where(np.arange(count) == 0, 1.0, 2.0) / n)

    def cosines(
        self, axis: int, positions: ArrayLike | None = None, *, kind: Literal["single", "products"] = "single"
    ) -> NDArray[np.float64]:
        """Matrix (positions, cosines) along an axis: orthonormal ones, or up to twice the frequency and unscaled."""
        where = np.arange(0, self.shape[axis], self.step[axis]) if positions is None else np.asarray(positions)
        count = self.counts[axis] if kind == "single" else 2 * self.counts[axis] - 1
        waves = np.cos(np.pi * np.outer(where + 0.5, np.arange(count)) / self.shape[axis])
        return waves * self.scale(axis) if kind == "single" else waves

    def contract(self, fields: NDArray[np.float64], kind: Literal["single", "products"]) -> NDArray[np.float64]:
        """Sum of each field (n, Z, Y, X) against every product of cosines: (n, count z, count y, count x)."""
        z, y, x = (self.cosines(axis, kind=kind) for axis in range(3))
        rows = fields @ x
        planes = np.matmul(y.T, rows)
        n, n_z, n_y, n_x = planes.shape
        return np.asarray(np.matmul(z.T, planes.reshape(n, n_z, n_y * n_x)).reshape(n, z.shape[1], n_y, n_x))

    def expand(
        self, coefficients: NDArray[np.float64], positions: tuple[ArrayLike | None, ...] = (None, None, None)
    ) -> NDArray[np.float64]:
        """Fields (n, Z', Y', X') of coefficients (n, count z, count y, count x), at voxel positions per axis."""
        z, y, x = (self.cosines(axis, positions[axis]) for axis in range(3))
        rows = np.matmul(y, coefficients @ x.T)
        n, n_z, n_y, n_x = rows.shape
        return np.asarray(np.matmul(z, rows.reshape(n, n_z, n_y * n_x)).reshape(n, len(z), n_y, n_x))

    def roughness(self, voxel_mm: ArrayLike) -> NDArray[np.float64]:
        """Integral over the volume of the squared Laplacian of each basis function (z, y, x), with mm as unit."""
        size = np.asarray(voxel_mm, dtype=np.float64)
        squares = [
            (np.pi * np.arange(count) / (n * mm)) ** 2
            for count, n, mm in zip(self.counts, self.shape, size, strict=True)
        ]
        laplacian = squares[0][:, None, None] + squares[1][:, None] + squares[2]
        return np.asarray(laplacian**2 * size.prod())


def assemble_curvature(products: NDArray[np.float64], basis: CosineBasis) -> NDArray[np.float64]:
    """Matrix (3K, 3K), direction slowest, from the six contracted products xx, xy, xz, yy, yz, zz of gradients."""
    paired = products
    for axis in range(3):
        count = basis.counts[axis]
        i, j = np.indices((count, count))
        both = 0.5 * (np.take(paired, np.abs(i - j), axis=1 + 2 * axis) + np.take(paired, i + j, axis=1 + 2 * axis))
        scale = basis.scale(axis)
        trailing = (1,) * (2 - axis)
        paired = both * np.outer(scale, scale).reshape(count, count, *trailing)
    # (6, z, z', y, y', x, x') to (6, K, K)
    blocks = paired.transpose(0, 1, 3, 5, 2, 4, 6).reshape(6, basis.size, basis.size)
    order = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
    return np.asarray(blocks[order].transpose(0, 2, 1, 3).reshape(3 * basis.size, 3 * basis.size))
