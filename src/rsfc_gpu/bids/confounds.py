"""Motion parameters and confounds tables, as SPM and fMRIPrep write them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.bids.tables import refuse_other_separators
from rsfc_gpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MOTION_COLUMNS = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
TISSUE_COLUMNS = {"white_matter": "white_matter", "csf": "csf", "global": "global_signal"}
_OLD_NAMES = {
    "X": "trans_x",
    "Y": "trans_y",
    "Z": "trans_z",
    "RotX": "rot_x",
    "RotY": "rot_y",
    "RotZ": "rot_z",
    "WhiteMatter": "white_matter",
    "CSF": "csf",
    "GlobalSignal": "global_signal",
    "FramewiseDisplacement": "framewise_displacement",
}


def read_motion(path: str | Path) -> NDArray[np.float64]:
    """Motion parameters of a text file as SPM writes it (rp_*.txt), (T, 6): mm, then radians.

    Raises
    ------
    InputError : no such file, not numbers, not finite, or not six columns.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file is answered below
            motion = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a table of numbers ({error})") from error
    if motion.size == 0:
        raise InputError(f"{path}: holds no rows")
    if motion.shape[1] != 6:
        raise InputError(f"{path}: expected six columns of motion parameters, found {motion.shape[1]}")
    if not np.isfinite(motion).all():
        row = int(np.flatnonzero(~np.isfinite(motion).all(axis=1))[0])
        raise InputError(f"{path}: row {row + 1} of {len(motion)} holds a value that is not finite")
    if np.abs(motion[:, 3:]).max(initial=0.0) > np.pi:
        raise InputError(
            f"{path}: rotations beyond pi; expected mm, then radians (SPM's order), found degrees or FSL's order?"
        )
    return motion


def read_table(source: str | Path | pd.DataFrame) -> pd.DataFrame:
    """A tab-separated confounds table; "n/a" is missing. A DataFrame is taken as it is."""
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source
    try:
        table = pd.read_csv(source, sep="\t", na_values=["n/a"], encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{source}: not a tab-separated table ({error})") from error
    refuse_other_separators(source, list(table.columns))
    return table


def confound_columns(
    table: pd.DataFrame, columns: Sequence[str], name: str = "the confounds table"
) -> NDArray[np.float64]:
    """The named columns of an fMRIPrep table, (T, n).

    "n/a" in the first row of a derivative or of the framewise displacement becomes 0; any other is an error.

    Raises
    ------
    InputError : a missing column (a name of fMRIPrep before 1.2 is answered with the new one), or a missing value.

    References
    ----------
    fMRIPrep, "Confounds": names and units; rotations are in radians.
    """
    values = np.empty((len(table), len(columns)))
    for position, column in enumerate(columns):
        if column not in table:
            old = next((old for old, new in _OLD_NAMES.items() if new == column and old in table), None)
            hint = f"; it has {old}, the name before fMRIPrep 1.2: rename it to {column}" if old else ""
            raise InputError(f"{name} has no column {column}{hint}")
        try:
            values[:, position] = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
        except (ValueError, TypeError) as error:
            raise InputError(f"{name}: column {column} is not numeric ({error})") from error
        if column == "framewise_displacement" or "_derivative1" in column:
            values[:1, position] = np.nan_to_num(values[:1, position])
        bad = np.flatnonzero(~np.isfinite(values[:, position]))
        if len(bad):
            raise InputError(f"{name}: column {column} has no value in row {bad[0] + 1} of {len(table)}")
    return values
