"""How much of a planted connection comes out of simulated raw runs, and what the scanner's noise takes of it.

    python benchmarks/planted_raw.py [--runs 10]

Every place of the paper's effects is connected with its seed at z = 0.6. Each run is made three times: preprocessed, as
the cohorts of `rsfc simulate` are; raw; and raw without the scanner's own noise. The raw ones go through the chain with
the settings of the study. Printed is the measured z over the planted one, over all voxels where over 0.15 is planted:
the mean over the runs and its standard error.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rsfc_gpu as rg
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.preprocess import PreprocessSettings, preprocess
from rsfc_gpu.simulate import CohortSettings, Head, build_anatomy, planted_effects, simulate_run
from rsfc_gpu.simulate.anatomy import Anatomy
from rsfc_gpu.simulate.bold import TR_S, fluctuation
from rsfc_gpu.simulate.cohort import BLOB_FWHM_MM
from rsfc_gpu.simulate.motion import simulate_motion
from rsfc_gpu.simulate.raw import N_DUMMIES, SCANNER_NOISE, SLICE_ORDER, scan_head

PLANTED_Z, LEAST_Z = 0.6, 0.15
MEAN_FD_MM = 0.05
SETTINGS = CohortSettings()
DENOISE = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    n_runs = parser.parse_args().runs
    anatomy = build_anatomy(SETTINGS.grid_mm)
    z_maps, backend = planted(anatomy), rg.select_backend("cpu")
    arrived: dict[str, list[float]] = {"preprocessed": [], "raw": [], "raw, no scanner noise": []}
    for seed in range(n_runs):
        run = simulate_run(anatomy, z_maps, np.random.default_rng(seed), n_volumes=SETTINGS.n_volumes)
        maps = [map_of(run.image(), run.motion, anatomy, backend)]
        for noise in (SCANNER_NOISE, 0.0):
            done = preprocess(
                raw_image(anatomy, z_maps, seed, noise),
                PreprocessSettings(discard_volumes=N_DUMMIES, slice_timing=SLICE_ORDER, voxel_mm=SETTINGS.grid_mm),
                backend,
            )
            maps.append(map_of(done.image, done.motion, anatomy, backend))
        for name, found in zip(arrived, maps, strict=True):
            arrived[name].append(share(found, anatomy.brain, z_maps))
        print(
            "; ".join(
                f"{name} {np.mean(values):.2f} (standard error {np.std(values) / np.sqrt(len(values)):.2f})"
                for name, values in arrived.items()
            ),
            flush=True,
        )


def planted(anatomy: Anatomy) -> NDArray[np.float32]:
    """(S, V) planted Fisher z."""
    effects = planted_effects()
    blobs, _ = anatomy.blobs([effect.xyz_mm for effect in effects], BLOB_FWHM_MM)
    z_maps = np.zeros((len(anatomy.seeds), len(anatomy.brain)), dtype=np.float32)
    for effect, blob in zip(effects, blobs, strict=True):
        row = z_maps[anatomy.seeds.names.index(effect.seed)]
        np.maximum(row, PLANTED_Z * blob, out=row)
    return z_maps


def raw_image(anatomy: Anatomy, z_maps: NDArray[np.float32], seed: int, noise: float) -> Any:
    rng = np.random.default_rng(seed)
    motion = simulate_motion(rng, N_DUMMIES + SETTINGS.n_volumes, mean_fd_mm=MEAN_FD_MM)
    series = fluctuation(anatomy, z_maps, rng, n_volumes=SETTINGS.n_volumes, n_before=N_DUMMIES)
    head = Head.draw(np.random.default_rng([seed, 1]))
    return scan_head(
        head, series, anatomy.brain, motion - motion[N_DUMMIES], rng, tr_s=TR_S, scanner_noise=noise
    ).image()


def map_of(image: Any, motion: NDArray[np.float64], anatomy: Anatomy, backend: rg.Backend) -> rg.SeedMaps:
    masks = {"white_matter": anatomy.white_matter, "csf": anatomy.csf, "global": anatomy.brain}
    tissues = {name: mask_image(mask) for name, mask in masks.items()}
    run = rg.Run(bold=image, mask=tissues["global"], motion=motion, tissues=tissues, tr_s=TR_S)
    return rg.seed_maps(run, anatomy.seeds, DENOISE, backend)


def mask_image(mask: Mask) -> Any:
    import nibabel

    return nibabel.Nifti1Image(mask.inside.astype(np.uint8), mask.affine)


def share(maps: rg.SeedMaps, brain: Mask, z_maps: NDArray[np.float32]) -> float:
    """Measured z over planted z, by least squares through 0."""
    wanted = brain.put(z_maps)
    at = (wanted > LEAST_Z) & maps.usable
    return float((maps.z[at] * wanted[at]).sum() / (wanted[at] ** 2).sum())


if __name__ == "__main__":
    main()
