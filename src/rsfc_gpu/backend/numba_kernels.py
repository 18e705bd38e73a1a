"""The CPU's loops over the voxels of a run, compiled by Numba and cached on disk.

No loop starts threads of its own: the callers split voxels over a thread pool, so that a process never
runs more threads than it was given, and so that calls from several threads are safe.

Layout: a volume is flat in the order of the file (x fastest), or (Z, Y, X) in C order, which is the same memory.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_compile = njit(cache=True, nogil=True, error_model="numpy")


@_compile
def gather_integers(volume, run_starts, run_places, region_runs, row, total, region_totals):
    """Copy the voxels of a mask to `row`, add them to `total` (int32 or int64), and return the sum of the row.

    The mask is given as runs of neighbours along x, see `Mask.runs`; so are regions, whose exact sums are written to
    `region_totals`: start, length and region of each run, (R, 3). One call a volume, because each takes Python's lock
    again. Plain loops over slices: the compiler turns those into vector instructions, half the time of an index.
    """
    for k in range(run_starts.size):
        source = volume[run_starts[k] : run_starts[k] + run_places[k + 1] - run_places[k]]
        target = row[run_places[k] : run_places[k + 1]]
        for i in range(target.size):
            target[i] = source[i]
    for v in range(row.size):
        total[v] += row[v]
    row_total = np.int64(0)
    for v in range(row.size):
        row_total += row[v]
    region_totals[:] = 0
    for k in range(len(region_runs)):
        run_total = np.int64(0)
        for i in range(region_runs[k, 0], region_runs[k, 0] + region_runs[k, 1]):
            run_total += volume[i]
        region_totals[region_runs[k, 2]] += run_total
    return row_total


@_compile
def gather_floats(volume, index, slope, intercept, first, row, total, varies, finite):
    """Store slope * value + intercept - `first` (float64) in `row` (float32); a voxel that is not finite stores 0."""
    for v in range(index.size):
        value = slope * volume[index[v]] + intercept
        if math.isfinite(value):
            difference = value - first[v]
            row[v] = difference
            total[v] += difference
            varies[v] |= difference != 0.0
        else:
            row[v] = 0.0
            finite[v] = False


@_compile
def region_means(volume, slope, intercept, starts, members, means):
    """Mean of slope * value + intercept over the voxels members[starts[r]:starts[r+1]]; not finite counts as 0."""
    for r in range(starts.size - 1):
        total = 0.0
        for m in range(starts[r], starts[r + 1]):
            value = slope * volume[members[m]] + intercept
            if math.isfinite(value):
                total += value
        means[r] = total / max(starts[r + 1] - starts[r], 1)


@_compile
def scale_finite(volume, slope, intercept, out, finite, first, varies):
    """Write slope * value + intercept to `out` (float32), 0 where not finite; note those, and which voxels vary."""
    for v in range(volume.size):
        value = slope * volume[v] + intercept
        varies[v] |= volume[v] != first[v]
        if math.isfinite(value):
            out[v] = value
        else:
            out[v] = 0.0
            finite[v] = False


@_compile
def centre_block(samples, centre, start, block, before):
    """Centre the voxels start, start + 1, ... into `block` (T, b) float32; `before` (b,) gets their sums of squares."""
    n_volumes, width = block.shape
    before[:] = 0.0
    middle = centre[start : start + width]
    for t in range(n_volumes):
        # Slices, not samples[t, start + v]: a third of the time, because the loop then becomes vector instructions.
        row = samples[t, start : start + width]
        target = block[t]
        for v in range(width):
            value = row[v] - middle[v]
            target[v] = value
            before[v] += value * value


@_compile
def finish_correlations(signal, dots, before, start, r, z, retained):
    """From compressed signals (K, b) and their dot products (S, b) with unit seeds: r, Fisher z, and the norm kept."""
    n_components, width = signal.shape
    for v in range(width):
        before[v] = math.sqrt(before[v])
    norm = np.zeros(width)
    for k in range(n_components):
        for v in range(width):
            norm[v] += np.float64(signal[k, v]) * signal[k, v]
    for v in range(width):
        norm[v] = math.sqrt(norm[v])
        retained[start + v] = norm[v] / before[v] if before[v] > 0.0 else 0.0
    limit = 1.0 - 1e-7
    for s in range(dots.shape[0]):
        for v in range(width):
            value = dots[s, v] / norm[v] if norm[v] > 0.0 else 0.0
            value = min(max(value, -limit), limit)
            r[s, start + v] = value
            z[s, start + v] = 0.5 * math.log((1.0 + value) / (1.0 - value))


@_compile
def smooth_x(source, weights, target):
    """Convolve each row of (Z, Y, X) with `weights`; zero outside the volume."""
    radius = weights.size // 2
    n_z, n_y, n_x = source.shape
    padded = np.zeros(n_x + 2 * radius, dtype=np.float32)
    for z in range(n_z):
        for y in range(n_y):
            padded[radius : radius + n_x] = source[z, y]
            for x in range(n_x):
                target[z, y, x] = weights[0] * padded[x]
            for w in range(1, weights.size):
                for x in range(n_x):
                    target[z, y, x] += weights[w] * padded[x + w]


@_compile
def smooth_y(source, weights, target):
    """Convolve each column of (Z, Y, X) with `weights`; zero outside the volume."""
    radius = weights.size // 2
    n_z, n_y, n_x = source.shape
    for z in range(n_z):
        for y in range(n_y):
            target[z, y, :] = 0.0
            for w in range(max(0, radius - y), min(weights.size, n_y + radius - y)):
                for x in range(n_x):
                    target[z, y, x] += weights[w] * source[z, y + w - radius, x]


@_compile
def smooth_z(source, weights, first, last, target):
    """Convolve along Z, planes first..last-1, `weights` renormalised where they leave the volume."""
    radius = weights.size // 2
    n_z, n_y, n_x = source.shape
    for z in range(first, last):
        low = max(0, radius - z)
        high = min(weights.size, n_z + radius - z)
        inside = np.float32(0.0)
        for w in range(low, high):
            inside += weights[w]
        for y in range(n_y):
            target[z, y, :] = 0.0
            for w in range(low, high):
                weight = weights[w] / inside
                for x in range(n_x):
                    target[z, y, x] += weight * source[z + w - radius, y, x]
