"""Head motion: regressors, framewise displacement, and the volumes that are kept.

Motion parameters are a (T, 6) array in SPM's order and sign: x, y, z in mm, then pitch, roll, yaw in radians.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError

FdKind = Literal["power", "jenkinson", "van_dijk"]
HEAD_RADIUS_MM = 50.0  # Power et al. 2012
JENKINSON_RADIUS_MM = 80.0  # Jenkinson et al. 1999, MCFLIRT


def friston24(motion: ArrayLike, kind: Literal["lagged", "derivative"] = "lagged") -> NDArray[np.float64]:
    """The 24 motion regressors, (T, 24).

    Parameters
    ----------
    motion : (T, 6) mm and radians.
    kind : "lagged" gives [R_t, R_(t-1), R_t^2, R_(t-1)^2], R_0 = 0, as DPABI computes Friston's model;
        "derivative" gives [R, dR, R^2, dR^2], dR = 0 in the first row, as fMRIPrep's confounds.

    Raises
    ------
    InputError : wrong shape, values that are not finite, or an unknown kind.

    References
    ----------
    Lagged: Friston et al. 1996, Magn Reson Med 35:346-355.
    Derivative: Satterthwaite et al. 2013, NeuroImage 64:240-256.
    """
    parameters = check_motion(motion)
    before = np.vstack([np.zeros((1, 6)), parameters[:-1]])
    if kind == "lagged":
        second = before
    elif kind == "derivative":
        second = parameters - before
        second[0] = 0.0
    else:
        raise InputError(f"unknown kind of Friston regressors {kind!r}: expected lagged or derivative")
    return np.hstack([parameters, second, parameters**2, second**2])


def framewise_displacement(
    motion: ArrayLike, kind: FdKind = "power", affine: ArrayLike | None = None, shape: ArrayLike | None = None
) -> NDArray[np.float64]:
    """Displacement of the head from the volume before, (T,) in mm; 0 for the first volume.

    Parameters
    ----------
    motion : (T, 6) mm and radians.
    kind : "power" sums absolute differences, rotations on a sphere of 50 mm; "van_dijk" is the change of the length of
        the translation; "jenkinson" is the root mean square displacement over a sphere of 80 mm.
    affine, shape : of the native image to which the parameters refer; needed by "jenkinson" alone. The sphere's
        centre is affine @ (shape / 2 - 1), as DPABI has it; that lies half a voxel off the true centre, which changes
        the measure by up to 3 per cent.

    Raises
    ------
    InputError : wrong shape, values that are not finite, an unknown kind, or "jenkinson" without its geometry.

    References
    ----------
    Power et al. 2012, NeuroImage 59:2142-2154; Van Dijk et al. 2012, NeuroImage 59:431-438;
    Jenkinson et al. 2002, NeuroImage 17:825-841. Conventions of DPABI 5.0.
    """
    parameters = check_motion(motion)
    displacement = np.zeros(len(parameters))
    if kind == "power":
        steps = np.abs(np.diff(parameters, axis=0))
        displacement[1:] = steps[:, :3].sum(axis=1) + HEAD_RADIUS_MM * steps[:, 3:].sum(axis=1)
    elif kind == "van_dijk":
        displacement[1:] = np.abs(np.diff(np.linalg.norm(parameters[:, :3], axis=1)))
    elif kind == "jenkinson":
        if affine is None or shape is None:
            raise InputError("the Jenkinson displacement needs the affine and the shape of the native image")
        displacement[1:] = _jenkinson(parameters, np.asarray(affine, dtype=np.float64), np.asarray(shape)[:3])
    else:
        raise InputError(f"unknown kind of displacement {kind!r}: expected power, jenkinson or van_dijk")
    return displacement


def kept_volumes(fd_mm: ArrayLike, threshold_mm: float = 0.5, before: int = 1, after: int = 1) -> NDArray[np.bool_]:
    """Which volumes survive scrubbing, (T,) bool.

    A volume whose displacement is strictly greater than `threshold_mm` goes, with `before` volumes ahead of it and
    `after` behind it.

    Raises
    ------
    InputError : displacements that are not finite, or a negative `before` or `after`.

    References
    ----------
    Power et al. 2012, NeuroImage 59:2142-2154.
    """
    displacement = np.asarray(fd_mm, dtype=np.float64)
    if displacement.ndim != 1 or not np.isfinite(displacement).all() or before < 0 or after < 0:
        raise InputError("scrubbing needs a series of finite displacements, and before and after not negative")
    bad = np.flatnonzero(displacement > threshold_mm)
    kept = np.ones(len(displacement), dtype=bool)
    for volume in bad:
        kept[max(0, volume - before) : volume + after + 1] = False
    return kept


def check_motion(motion: ArrayLike) -> NDArray[np.float64]:
    """`motion` as a float64 (T, 6) array; InputError for another shape or values that are not finite."""
    parameters = np.asarray(motion, dtype=np.float64)
    if parameters.ndim != 2 or parameters.shape[1] != 6:
        raise InputError(f"motion parameters: expected shape (T, 6), found {parameters.shape}")
    if not np.isfinite(parameters).all():
        row = int(np.flatnonzero(~np.isfinite(parameters).all(axis=1))[0])
        raise InputError(f"motion parameters: row {row + 1} of {len(parameters)} holds a value that is not finite")
    return parameters


def _jenkinson(parameters: NDArray[Any], affine: NDArray[Any], shape: NDArray[Any]) -> NDArray[np.float64]:
    matrices = _rigid_matrices(parameters)
    centre = (affine @ np.append(shape / 2 - 1, 1.0))[:3]
    change = matrices[:-1] @ np.linalg.inv(matrices[1:]) - np.eye(4)
    rotation, shift = change[:, :3, :3], change[:, :3, 3]
    spread = JENKINSON_RADIUS_MM**2 / 5 * (rotation**2).sum(axis=(1, 2))  # tr(A'A)
    return np.asarray(np.sqrt(spread + ((shift + rotation @ centre) ** 2).sum(axis=1)))


def _rigid_matrices(parameters: NDArray[Any]) -> NDArray[np.float64]:
    """(T, 4, 4) translation times pitch times roll times yaw, with SPM's signs."""
    n_volumes = len(parameters)
    matrices = np.tile(np.eye(4), (n_volumes, 1, 1))
    matrices[:, :3, 3] = parameters[:, :3]
    sines, cosines = np.sin(parameters[:, 3:]), np.cos(parameters[:, 3:])
    for axis, (first, second) in enumerate([(1, 2), (0, 2), (0, 1)]):
        rotation = np.tile(np.eye(4), (n_volumes, 1, 1))
        rotation[:, first, first] = rotation[:, second, second] = cosines[:, axis]
        rotation[:, first, second] = sines[:, axis]
        rotation[:, second, first] = -sines[:, axis]
        matrices = matrices @ rotation
    return matrices
