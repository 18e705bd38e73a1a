"""Rigid movements in SPM's parametrisation, and what a rigid registration takes and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend.splines import AxisFilters

MAXIMUM_STEPS = 64
STOP_MM = 1e-3  # of translation, and of rotation at 50 mm
ROTATION_RADIUS_MM = 50.0
MINIMUM_SAMPLES = 32

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RigidTarget:
    """Samples of a reference volume that other volumes are moved onto.

    Attributes
    ----------
    points : (N, 3) voxel positions x, y, z in the reference.
    design : (N, 7) its intensity there, and the derivative of that intensity with each rigid parameter.
    filters : what turns a volume into the coefficients that are sampled (second degree).
    voxel_to_mm : (4, 4) of the common grid; the rigid parameters act about this frame's origin.
    """

    points: NDArray[np.float64]
    design: NDArray[np.float64]
    filters: AxisFilters
    voxel_to_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RigidFits:
    """Where each volume lies: `matrices` (T, 4, 4) take mm of the reference to mm of the volume.

    `converged` (T,) bool; `samples` (T,) is how many samples of the target lay inside the volume at the last step.
    """

    matrices: NDArray[np.float64]
    converged: NDArray[np.bool_]
    samples: NDArray[np.int64]


def fit_rigid(
    equations: Callable[[F64], tuple[int, F64, F64]], target: RigidTarget, matrix: F64
) -> tuple[F64, bool, int]:
    """Gauss-Newton with the derivatives of the target, which therefore never change: matrix, converged, samples.

    The volume at matrix @ x equals scale * target(rigid(q) @ x); its linearisation in (scale, scale q) is the design.

    Parameters
    ----------
    equations : takes the map from voxels of the target to those of the volume; returns how many samples lie inside,
        design' @ values over those (7,), and design' design over the others (7, 7).
    matrix : (4, 4) to start from.
    """
    curvature = target.design.T @ target.design
    to_voxel = np.linalg.inv(target.voxel_to_mm)
    inside = 0
    for _ in range(MAXIMUM_STEPS):
        inside, moment, lost = equations(to_voxel @ matrix @ target.voxel_to_mm)
        if inside < MINIMUM_SAMPLES or not np.isfinite(moment).all():
            return matrix, False, inside
        solution = np.linalg.lstsq(curvature - lost, moment, rcond=None)[0]
        if not solution[0] > 0.0:  # no positive intensity scale: this volume shows something else
            return matrix, False, inside
        step = solution[1:] / solution[0]
        if np.abs(step[3:]).max() > 1.0:  # over a radian in one step: lost
            return matrix, False, inside
        matrix = matrix @ np.linalg.inv(rigid_matrix(step))
        if max(np.abs(step[:3]).max(), ROTATION_RADIUS_MM * np.abs(step[3:]).max()) < STOP_MM:
            return matrix, True, inside
    return matrix, False, inside


def rigid_matrix(parameters: ArrayLike) -> NDArray[np.float64]:
    """Matrix (4, 4) = translation . Rx . Ry . Rz of x, y, z in mm and pitch, roll, yaw in rad (SPM's signs)."""
    x, y, z, pitch, roll, yaw = np.asarray(parameters, dtype=np.float64)
    about_x, about_y, about_z = np.eye(3), np.eye(3), np.eye(3)
    about_x[1:, 1:] = [[np.cos(pitch), np.sin(pitch)], [-np.sin(pitch), np.cos(pitch)]]
    about_y[::2, ::2] = [[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]
    about_z[:2, :2] = [[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]]
    matrix = np.eye(4)
    matrix[:3, :3] = about_x @ about_y @ about_z
    matrix[:3, 3] = x, y, z
    return matrix


def rigid_parameters(matrix: ArrayLike) -> NDArray[np.float64]:
    """The six parameters of a rigid matrix; inverse of `rigid_matrix` for rotations under 90 degrees."""
    m = np.asarray(matrix, dtype=np.float64)
    pitch = np.arctan2(m[1, 2], m[2, 2])
    roll = np.arcsin(np.clip(m[0, 2], -1.0, 1.0))
    yaw = np.arctan2(m[0, 1], m[0, 0])
    return np.array([*m[:3, 3], pitch, roll, yaw])
