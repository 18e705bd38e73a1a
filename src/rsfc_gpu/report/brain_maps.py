"""Statistic maps on the brain: a glass brain and slices through the clusters, with one scale beside them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.report.style import DOUBLE_MM, INK, MUTED, new_figure, styled

# Orange and blue keep apart with every kind of colour blindness; dark is strong, on white paper too.
_WARM = ("#fdbf6f", "#f16913", "#a63603", "#5f1a00")
_COOL = ("#9ecae1", "#3182bd", "#08519c", "#06264f")
_ONE_SIDED = ("#fcc5c0", "#f768a1", "#ae017e", "#49006a")
_LEVELS, _SLICES = 256, 7
Kind = Literal["t", "F"]
_HEIGHT_MM = 84.0


def within_clusters(
    values: NDArray[np.float32], labels: NDArray[np.integer[Any]], wanted: Sequence[int]
) -> NDArray[np.float32]:
    """`values` (X, Y, Z) where `labels` is one of the cluster numbers wanted, 0 elsewhere."""
    return np.where(np.isin(labels, list(wanted)), np.nan_to_num(values), np.float32(0)).astype(np.float32)


def slice_positions(peaks_mm: Sequence[Sequence[float]], *, count: int = _SLICES) -> list[float]:
    """Heights z (mm) of axial slices: through each peak, most important first, then where the largest gaps are."""
    chosen: list[float] = []
    for point in peaks_mm:
        z = float(round(point[2]))
        if len(chosen) < count and all(abs(z - other) >= 5 for other in chosen):
            chosen.append(z)
    between = np.arange(-28.0, 61.0, 4.0)
    while len(chosen) < count:
        gaps = np.min([np.abs(between - z) for z in chosen], axis=0) if chosen else np.abs(between)
        chosen.append(float(between[int(np.argmax(gaps))]))
    return sorted(chosen)


@styled
def brain_map(
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    *,
    threshold: float,
    kind: Kind,
    scale_label: str,
    peaks_mm: Sequence[Sequence[float]] = (),
    title: str = "",
) -> Any:
    """A figure of a map on a glass brain (top) and on axial slices of the MNI152 brain (bottom).

    Parameters
    ----------
    values : (X, Y, Z), 0 or NaN where nothing is to be shown.
    threshold : smallest magnitude that is shown.
    kind : of the statistic; it chooses the colours.
    scale_label : of the colour scale, such as "t(79)".
    peaks_mm : slices go through these.
    """
    import nibabel as nib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite = np.nan_to_num(values)
    limit = max(float(np.abs(finite).max()), threshold * 1.05 + 1e-6)
    two_sided = bool((finite < -threshold).any())
    ramp = colours(threshold, limit, kind=kind)
    image = nib.Nifti1Image(finite.astype(np.float32), affine)
    figure = new_figure(DOUBLE_MM, _HEIGHT_MM)
    common = {"figure": figure, "threshold": threshold, "cmap": ramp, "vmin": -limit, "vmax": limit}
    _draw(image, common, slice_positions(peaks_mm))
    _scale(figure, ScalarMappable(Normalize(-limit, limit), ramp), scale_label, (threshold, limit), two_sided)
    if title:
        figure.text(0.01, 0.985, title, va="top", fontsize=8.5, fontweight="bold")
    return figure


def _draw(image: Any, common: dict[str, Any], heights_mm: Sequence[float]) -> None:
    from nilearn import plotting

    with warnings.catch_warnings():
        # nilearn warns of empty maps and of masked arrays; both are drawn as they should be.
        warnings.simplefilter("ignore")
        glass = plotting.plot_glass_brain(
            image,
            display_mode="lyrz",
            axes=(0.0, 0.46, 0.9, 0.47),
            plot_abs=False,
            colorbar=False,
            annotate=False,
            **common,
        )
        glass.annotate(size=8)
        slices = plotting.plot_stat_map(
            image,
            display_mode="z",
            cut_coords=list(heights_mm),
            axes=(0.0, 0.01, 0.9, 0.42),
            colorbar=False,
            annotate=False,
            black_bg=False,
            **common,
        )
        slices.annotate(size=7)


def colours(threshold: float, limit: float, *, kind: Kind, lowest: float | None = None) -> Any:
    """The colours from `lowest` (-limit if None) to limit: grey up to the threshold, then the whole ramp."""
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap

    warm = LinearSegmentedColormap.from_list("warm", _ONE_SIDED if kind == "F" else _WARM)
    cool = LinearSegmentedColormap.from_list("cool", _COOL)
    level = np.linspace(-limit if lowest is None else lowest, limit, _LEVELS)
    strength = np.clip((np.abs(level) - threshold) / (limit - threshold), 0, 1)
    table = np.where((level > 0)[:, None], warm(strength), cool(strength))
    table[np.abs(level) < threshold] = (0.8, 0.8, 0.8, 1.0)
    return ListedColormap(table, name="rsfc")


def _scale(figure: Any, mappable: Any, label: str, ends: tuple[float, float], two_sided: bool) -> None:
    axes = figure.add_axes((0.935, 0.2, 0.014, 0.55))
    bar = figure.colorbar(mappable, cax=axes)
    threshold, limit = ends
    ticks = [threshold, limit] if not two_sided else [-limit, -threshold, threshold, limit]
    bar.set_ticks(ticks, labels=[f"{tick:.1f}".replace("-", "\N{MINUS SIGN}") for tick in ticks])
    axes.set_ylim(-limit if two_sided else threshold, limit)
    axes.set_title(label, fontsize=7.5, fontweight="normal", color=INK, loc="center")
    axes.tick_params(length=2, labelsize=7, color=MUTED)
    bar.outline.set_linewidth(0.5)
