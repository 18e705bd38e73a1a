"""One run, from a BOLD file to amygdala maps: simulate a run with a known connection, map it, look for the connection.

    python docs/examples/one_run.py [FOLDER]

The run is made in MNI space on a 4-mm grid. One region follows the left laterobasal amygdala; the rest of the brain
is noise with a slow drift, a global signal and a head movement. The maps come from the command that a user types.
"""

# %% A run with a planted connection
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np

import rsfc_gpu as rg

SHAPE, N_VOLUMES, TR_S = (46, 55, 46), 200, 2.0
AFFINE = np.array([[-4.0, 0, 0, 90], [0, 4, 0, -126], [0, 0, 4, -72], [0, 0, 0, 1]])
TARGET_MM = (48.0, 18.0, 40.0)  # right middle frontal gyrus


def write_example(folder: Path) -> None:
    """bold.nii.gz, mask.nii.gz and rp_bold.txt in `folder`."""
    rng = np.random.default_rng(1)
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    mm = indices @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    brain = (((mm - [0, -18, 8]) / [70, 88, 62]) ** 2).sum(axis=-1) <= 1
    grid = nibabel.Nifti1Image(brain.astype(np.uint8), AFFINE)
    seeds = rg.Seeds.from_atlas("juelich-amygdala", like=grid, space="MNI152NLin6Asym")
    seed = np.zeros(SHAPE, dtype=bool)
    seed[np.unravel_index(seeds.members[seeds.names.index("LBleft")], SHAPE, order="F")] = True
    target = np.linalg.norm(mm - TARGET_MM, axis=-1) <= 8
    t = np.arange(N_VOLUMES) * TR_S
    signal = sum(np.sin(2 * np.pi * hz * t + rng.uniform(0, 6)) for hz in (0.021, 0.034, 0.047, 0.062, 0.081))
    motion = np.cumsum(rng.normal(0, 0.008, (N_VOLUMES, 6)), axis=0) * [1, 1, 1, 0.01, 0.01, 0.01]
    motion[120:, 1] += 0.9  # the head moves once
    bold = np.zeros((*SHAPE, N_VOLUMES), dtype=np.int16)
    for volume in range(N_VOLUMES):
        values = 1000 + 8 * rng.standard_normal(SHAPE) + 0.1 * volume + 4 * np.sin(volume / 9) + 20 * motion[volume, 1]
        values[seed | target] += 8 * signal[volume]
        bold[..., volume] = np.where(brain, values, 0)
    image = nibabel.Nifti1Image(bold, AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((4, 4, 4, TR_S))
    nibabel.save(image, folder / "bold.nii.gz")
    nibabel.save(grid, folder / "mask.nii.gz")
    np.savetxt(folder / "rp_bold.txt", motion)


# %% Map it, and look where the left laterobasal map is highest outside the amygdala
def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
    folder.mkdir(parents=True, exist_ok=True)
    write_example(folder)
    command = [sys.executable, "-m", "rsfc_gpu.cli", "maps", str(folder / "bold.nii.gz")]
    command += ["--mask", str(folder / "mask.nii.gz"), "--motion", str(folder / "rp_bold.txt")]
    command += ["--seeds", "juelich-amygdala", "--space", "MNI152NLin6Asym", "--out", str(folder / "maps")]
    print("$ rsfc", " ".join(command[3:]))
    subprocess.run(command, check=True)
    image = nibabel.load(folder / "maps" / "seed-LBleft_stat-z_statmap.nii.gz")
    z = np.nan_to_num(image.get_fdata())
    seeds = rg.Seeds.from_atlas("juelich-amygdala", like=image, space="MNI152NLin6Asym")
    for members in seeds.members:
        z[np.unravel_index(members, SHAPE, order="F")] = 0
    peak_mm = AFFINE[:3, :3] @ np.unravel_index(z.argmax(), SHAPE) + AFFINE[:3, 3]
    distance_mm = np.linalg.norm(peak_mm - TARGET_MM)
    print(f"planted at {TARGET_MM} mm; highest z {z.max():.2f} at {tuple(peak_mm.tolist())}, {distance_mm:.0f} mm away")
    if distance_mm > 10:
        sys.exit("the planted connection was not found")


if __name__ == "__main__":
    main()
