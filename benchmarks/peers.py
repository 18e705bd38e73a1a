"""The contenders of compare_peers.py: this package, nilearn, statsmodels and plain NumPy, each as its users call it.

    python benchmarks/peers.py CONTENDER FOLDER [--runs N]     one in a process of its own; prints its times and memory

A contender on runs takes a folder that `prepare_run` filled to r (S, V); one on groups takes one that `prepare_group`
filled to T (V,). Voxels are those of the mask, in C order. Each imports what it needs itself, so that the time of a
whole process is its own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.bench.inputs import TR_S, Size, make_group_maps, make_run, saved_run, two_groups
from rsfc_gpu.bench.timing import highest_memory_bytes, usable_threads

Array = np.ndarray[Any, Any]
LOW_HZ, HIGH_HZ = 0.01, 0.1
CONTRAST = "MDD - HC"
LOOPED_VOXELS = 400  # of the fits that are looped over voxels in Python


def prepare_run(folder: Path, size: Size) -> None:
    """A run and, for nilearn, its confounds as a table: ours has to compute these columns from the images."""
    import nibabel

    from rsfc_gpu.bench.reference import nuisance_table

    run = make_run(folder, size)
    table = nuisance_table(run, np.asanyarray(nibabel.load(run.bold).dataobj))[:, 1:]
    np.savetxt(folder / "confounds.tsv", table, delimiter="\t")


def read_mask(folder: Path) -> Array:
    """(X, Y, Z) the mask of a prepared folder."""
    import nibabel

    return np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj) > 0


def rsfc_gpu(folder: Path, *, device: Any = "cpu", threads: int | None = None, **changes: Any) -> Array:
    """Ours, with the recipe of the published study or with other settings."""
    import rsfc_gpu as rg
    from rsfc_gpu.bench.inputs import run_settings

    backend = rg.select_backend(device, threads=threads)
    maps = rg.seed_maps(saved_run(folder), folder / "seeds.nii.gz", run_settings().replace(**changes), backend)
    return maps.r[:, read_mask(folder)]


def rsfc_gpu_joint(folder: Path, threads: int | None = None) -> Array:
    """Ours with the recipe of `nilearn_best`: regression and filter in one."""
    return rsfc_gpu(folder, threads=threads, order="joint", padding="none")


def rsfc_gpu_cuda(folder: Path) -> Array:
    return rsfc_gpu(folder, device="cuda")


def nilearn_example(folder: Path) -> Array:
    """As nilearn's example of seed-to-voxel correlations: a masker for the seeds, one for the brain, Butterworth."""
    from nilearn.maskers import NiftiLabelsMasker, NiftiMasker

    cleaning = {"standardize": "zscore_sample", "detrend": True, "low_pass": HIGH_HZ, "high_pass": LOW_HZ, "t_r": TR_S}
    bold, confounds = folder / "bold.nii.gz", np.loadtxt(folder / "confounds.tsv", delimiter="\t")
    seeds = NiftiLabelsMasker(folder / "seeds.nii.gz", **cleaning).fit_transform(bold, confounds=confounds)
    voxels = NiftiMasker(folder / "mask.nii.gz", **cleaning).fit_transform(bold, confounds=confounds)
    return seeds.T @ voxels / (len(seeds) - 1)


def nilearn_best(folder: Path) -> Array:
    """nilearn at its best: the file is read and masked once, the filter is columns of one regression in float32."""
    import nibabel
    from nilearn.masking import apply_mask
    from nilearn.signal import clean

    import rsfc_gpu as rg

    series = apply_mask(folder / "bold.nii.gz", folder / "mask.nii.gz", dtype=np.float32)
    table = np.loadtxt(folder / "confounds.tsv", delimiter="\t")
    kept = rg.denoise.kept_volumes(rg.denoise.framewise_displacement(np.loadtxt(folder / "rp.txt")))
    labels = np.asarray(nibabel.load(folder / "seeds.nii.gz").dataobj)[read_mask(folder)]
    seeds = np.column_stack([series[:, labels == seed].mean(axis=1) for seed in range(1, labels.max() + 1)])
    cleaned = clean(
        np.hstack([seeds, series]),
        confounds=np.column_stack([table, _fourier_columns(len(table))]),
        detrend=False,
        standardize="zscore_sample",
        filter=False,
        sample_mask=np.flatnonzero(kept),
    )
    n_seeds = seeds.shape[1]
    return cleaned[:, :n_seeds].T @ cleaned[:, n_seeds:] / (len(cleaned) - 1)


def _fourier_columns(n_volumes: int) -> Array:
    """Cosines and sines of every DFT frequency outside the band."""
    hz = np.fft.rfftfreq(n_volumes, TR_S)[1:]
    phase = 2 * np.pi * TR_S * np.arange(n_volumes)[:, None] * hz[(hz < LOW_HZ) | (hz > HIGH_HZ)]
    columns = np.hstack([np.cos(phase), np.sin(phase)])
    return columns[:, np.abs(columns).max(axis=0) > 1e-8]  # the sine at the Nyquist frequency is zero


def plain_numpy(folder: Path) -> Array:
    """Our recipe step by step in float64."""
    from rsfc_gpu.bench.reference import seed_correlations

    return seed_correlations(saved_run(folder))


ON_RUNS: dict[str, Callable[[Path], Array]] = {
    "rsfc_gpu": rsfc_gpu,
    "rsfc_gpu on CUDA": rsfc_gpu_cuda,
    "rsfc_gpu, one regression": rsfc_gpu_joint,
    "nilearn, its example": nilearn_example,
    "nilearn, at its best": nilearn_best,
    "plain NumPy": plain_numpy,
}


IN_THREADS = {"rsfc_gpu": rsfc_gpu, "rsfc_gpu, one regression": rsfc_gpu_joint}


def many_runs(name: str, folder: Path, n_runs: int) -> object:
    """One contender on the same run `n_runs` times, on all processors: ours in threads, the others in processes."""
    if n_runs == 1:
        return ON_RUNS[name](folder)
    if name == "rsfc_gpu on CUDA":
        return [rsfc_gpu_cuda(folder) for _ in range(n_runs)]
    from joblib import Parallel, delayed

    from rsfc_gpu.backend.blas import one_blas_thread

    if name in IN_THREADS:
        work = delayed(IN_THREADS[name])
        with one_blas_thread():  # as a study does: the runs share the processors
            return Parallel(usable_threads(), prefer="threads")(work(folder, threads=1) for _ in range(n_runs))
    return Parallel(usable_threads())(delayed(ON_RUNS[name])(folder) for _ in range(n_runs))


@dataclass(frozen=True)
class Group:
    """Maps of a group on disk, and what the contenders start from in memory."""

    folder: Path
    in_memory: bool = False

    @cached_property
    def size(self) -> Size:
        return Size(**json.loads((self.folder / "size.json").read_text()))

    @cached_property
    def paths(self) -> list[Path]:
        return sorted(self.folder.glob("map_*.nii.gz"))

    @cached_property
    def mask(self) -> Any:
        import nibabel

        return nibabel.load(self.folder / "mask.nii.gz")

    @cached_property
    def images(self) -> list[Any]:
        import nibabel

        volumes = (nibabel.load(path).get_fdata(dtype=np.float32) for path in self.paths)
        return [nibabel.Nifti1Image(volume, self.mask.affine) for volume in volumes]

    @cached_property
    def maps(self) -> Array:
        """(N, X, Y, Z)."""
        return np.stack([np.asarray(image.dataobj) for image in self.images])


def prepare_group(folder: Path, size: Size) -> None:
    """The maps of a group as one compressed file each, zero outside the brain."""
    import dataclasses

    import nibabel

    from rsfc_gpu.backend import select_backend
    from rsfc_gpu.bench.inputs import brain

    inside = brain(size)
    (folder / "size.json").write_text(json.dumps(dataclasses.asdict(size)))
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), size.affine), folder / "mask.nii.gz")
    for n, values in enumerate(make_group_maps(size, 0, select_backend("cpu"))):
        image = nibabel.Nifti1Image(np.where(inside, values, np.float32(0)), size.affine)
        nibabel.save(image, folder / f"map_{n:03d}.nii.gz")


def rsfc_gpu_fit(group: Group, *, variances: Any = "unequal", device: Any = "cpu") -> Any:
    """Our fit, from maps in memory or from their files."""
    import rsfc_gpu as rg

    design, backend = two_groups(group.size, variances=variances), rg.select_backend(device)
    if not group.in_memory:
        return rg.group.fit(group.paths, design, mask=group.folder / "mask.nii.gz", backend=backend)
    inside = np.asarray(group.mask.dataobj) > 0
    return rg.group.fit(group.maps, design, mask=inside, affine=group.mask.affine, backend=backend)


def rsfc_gpu_t(group: Group, **choices: Any) -> Array:
    stat = rsfc_gpu_fit(group, **choices).t(CONTRAST)
    return stat.values[stat.mask]


def rsfc_gpu_cuda_t(group: Group) -> Array:
    return rsfc_gpu_t(group, device="cuda")


def rsfc_gpu_table(group: Group) -> Any:
    """The fit, the contrast, and its table of clusters with corrected p."""
    import rsfc_gpu as rg

    return rg.group.results_table(rsfc_gpu_fit(group).t(CONTRAST))


def rsfc_gpu_covariance(group: Group) -> Array:
    """(N, N) as our fit estimates it."""
    return rsfc_gpu_fit(group).covariance


def nilearn_t(group: Group) -> Array:
    """SecondLevelModel: equal variances, no clusters."""
    import pandas as pd
    from nilearn.glm.second_level import SecondLevelModel

    design = two_groups(group.size, variances="equal")
    matrix = pd.DataFrame(np.asarray(design.matrix), columns=list(design.columns))
    given = group.images if group.in_memory else [str(path) for path in group.paths]
    model = SecondLevelModel(mask_img=group.mask, smoothing_fwhm=None).fit(given, design_matrix=matrix)
    weights = np.array([1.0, -1.0] + [0.0] * (matrix.shape[1] - 2))
    found = model.compute_contrast(weights, second_level_stat_type="t", output_type="stat")
    return np.asarray(found.dataobj)[np.asarray(group.mask.dataobj) > 0]


def numpy_t(group: Group) -> Array:
    from rsfc_gpu.bench.reference import two_sample_t

    return two_sample_t(group.maps, np.asarray(group.mask.dataobj) > 0, two_groups(group.size))


def looped_voxels(group: Group) -> Array:
    """Positions on the voxel axis of those that statsmodels fits."""
    n_voxels = group.size.n_voxels
    return np.linspace(0, n_voxels - 1, min(LOOPED_VOXELS, n_voxels)).astype(int)


def statsmodels_t(group: Group, covariance: Array | None = None) -> Array:
    """OLS, or GLS with a covariance (N, N), voxel by voxel; only `looped_voxels`."""
    import statsmodels.api as sm

    matrix = np.asarray(two_groups(group.size).matrix)
    weights = np.array([1.0, -1.0] + [0.0] * (matrix.shape[1] - 2))
    samples = group.maps[:, np.asarray(group.mask.dataobj) > 0].astype(np.float64)
    models = (sm.GLS(samples[:, v], matrix, sigma=covariance) for v in looped_voxels(group))
    return np.array([model.fit().t_test(weights).tvalue.item() for model in models])


ON_GROUPS: dict[str, Callable[[Group], Any]] = {
    "rsfc_gpu": rsfc_gpu_t,
    "rsfc_gpu, with its table": rsfc_gpu_table,
    "rsfc_gpu on CUDA": rsfc_gpu_cuda_t,
    "nilearn SecondLevelModel": nilearn_t,
    "plain NumPy": numpy_t,
    "statsmodels, a part": statsmodels_t,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("contender", choices=[*ON_RUNS, *ON_GROUPS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    if (options.folder / "bold.nii.gz").exists():
        many_runs(options.contender, options.folder, options.runs)
    else:
        ON_GROUPS[options.contender](Group(options.folder))
    first_call_s = time.perf_counter() - began
    alone = options.runs == 1 or options.contender in IN_THREADS  # else its workers hold the memory
    memory = highest_memory_bytes() if alone else None
    print(json.dumps({"first_call_s": first_call_s, "highest_memory_bytes": memory}))


if __name__ == "__main__":
    main()
