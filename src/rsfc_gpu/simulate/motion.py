"""Head motion of a run, and what it leaves in images that were realigned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.denoise import framewise_displacement
from rsfc_gpu.simulate.anatomy import F32, Anatomy

HEAD_RADIUS_MM = 50.0
#: Share of the intensity change of an uncorrected movement that realignment and interpolation leave behind.
RESIDUAL_SHARE = 0.3
SPIKE_DROP = 0.02  # relative loss of signal per mm of displacement beyond 0.3 mm: spins excited twice
_CENTRE_MM = np.array([0.0, -20.0, 10.0])


def simulate_motion(
    rng: np.random.Generator, n_volumes: int, *, mean_fd_mm: float, excursion_mm: float = 0.0
) -> NDArray[np.float64]:
    """(T, 6) motion parameters in SPM's order: x, y, z in mm, pitch, roll, yaw in radians; 0 in the first volume.

    Parameters
    ----------
    mean_fd_mm : mean framewise displacement (Power), spikes included, the excursion not.
    excursion_mm : the head slides by so much along z in the middle of the run and stays there.
    """
    # Each parameter is pulled back towards 0, so that a long run drifts no further than a short one.
    slow = np.zeros((n_volumes, 6))
    steps = rng.standard_normal((n_volumes, 6))
    for t in range(1, n_volumes):
        slow[t] = 0.97 * slow[t - 1] + steps[t]
    slow[:, 3:] /= HEAD_RADIUS_MM
    spikes = np.zeros((n_volumes, 6))
    budget_mm = 0.6 * mean_fd_mm * n_volumes
    for volume in rng.integers(3, n_volumes - 3, size=rng.poisson(0.9 * mean_fd_mm / 0.05)):
        size = rng.uniform(0.6, 1.1)
        if 2 * size > budget_mm:
            break
        budget_mm -= 2 * size
        spikes[volume, rng.integers(0, 3)] += size * rng.choice([-1.0, 1.0])
    wanted_mm = max(mean_fd_mm - framewise_displacement(spikes).mean(), 0.2 * mean_fd_mm)
    motion = slow * (wanted_mm / framewise_displacement(slow).mean()) + spikes
    if excursion_mm:
        when = (np.arange(n_volumes) - n_volumes * rng.uniform(0.4, 0.6)) / (0.04 * n_volumes)
        motion[:, 2] += excursion_mm / (1 + np.exp(-when))
    return np.asarray(motion - motion[0])


def motion_artefacts(
    rng: np.random.Generator, anatomy: Anatomy, motion: NDArray[np.float64]
) -> tuple[NDArray[np.float64], F32]:
    """Time courses (T, 7) and maps (7, V) whose product is the relative change of intensity that motion causes.

    Six follow the parameters, strongest where the intensity changes steeply; the seventh is a loss of signal, not the
    same everywhere, in volumes with a sudden movement. Censoring alone removes that one.
    """
    x, y, z = (anatomy.voxels_mm() - _CENTRE_MM).T
    g_x, g_y, g_z = anatomy.gradient
    maps = np.stack([g_x, g_y, g_z, g_z * y - g_y * z, g_x * z - g_z * x, g_y * x - g_x * y])
    sudden = np.clip(framewise_displacement(motion) - 0.3, 0.0, None)
    uneven = 1.0 + 0.5 * anatomy.noise(rng, 1)
    courses = np.column_stack([-RESIDUAL_SHARE * motion, -SPIKE_DROP * sudden])
    return courses, np.vstack([maps, uneven]).astype(np.float32)
