"""The head of a simulated participant: how it differs from the template, known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend.rigid import rigid_matrix

WARP_MM = 3.0
N_WAVES = 6


@dataclass(frozen=True, eq=False)
class Head:
    """Where each point of a head lies in the template. `to_template` is exact, so that errors need no inversion.

    Attributes
    ----------
    affine : (4, 4) mm of the scanner to mm of the template.
    amplitudes : (W, 3) mm by which each wave displaces on top of it; waves : (W, 3) wave vectors, radians per mm;
        phases : (W,) radians.
    """

    affine: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def draw(cls, rng: np.random.Generator, *, warp_mm: float = WARP_MM) -> Head:
        """A head some degrees tilted, some mm off, of another size, and warped by about `warp_mm`.

        Wavelengths of 90 to 160 mm: differences between adult brains that a low-dimensional warp can follow.
        """
        zooms = np.diag([*rng.normal([1.07, 1.05, 1.11], 0.04), 1.0])
        placed = rigid_matrix([*rng.uniform(-8, 8, 3), *np.radians(rng.uniform(-8, 8, 3))])
        amplitudes = rng.normal(size=(N_WAVES, 3)) * warp_mm / np.sqrt(1.5 * N_WAVES)
        directions = rng.normal(size=(N_WAVES, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * 2 * np.pi / rng.uniform(90.0, 160.0, (N_WAVES, 1))
        return cls(zooms @ placed, amplitudes, waves, rng.uniform(0, 2 * np.pi, N_WAVES))

    def to_template(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (..., 3) of the scanner lie in the template, mm."""
        placed = points_mm @ self.affine[:3, :3].T + self.affine[:3, 3]
        return np.asarray(placed + np.sin(points_mm @ self.waves.T + self.phases) @ self.amplitudes)

    def moved(self, motion: ArrayLike) -> Head:
        """The same head elsewhere: what lay at rigid(motion) @ x lies at x. `motion` (6,) as SPM writes it."""
        rigid = rigid_matrix(motion)
        turned = self.waves @ rigid[:3, :3]
        return Head(self.affine @ rigid, self.amplitudes, turned, self.phases + self.waves @ rigid[:3, 3])

    def facts(self) -> dict[str, Any]:
        """All that `from_facts` needs, for JSON."""
        return {name: getattr(self, name).tolist() for name in ("affine", "amplitudes", "waves", "phases")}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Head:
        """The head that `facts` described."""
        return cls(*(np.array(facts[name]) for name in ("affine", "amplitudes", "waves", "phases")))
