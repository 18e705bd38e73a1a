"""Bugs planted in the kernels: each must be caught by the checks of test_kernels_on_host.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cuda_on_host import checks
from cuda_on_host.build import KernelError, missing_compiler
from rsfc_gpu.resources import resource_folder

#: What is wrong, in which source, and what is replaced by what.
BUGS = [
    ("a voxel too many", "gather", "if (v < width) {\n            const", "if (v <= width) {\n            const"),
    ("row length of the block", "gather", "(long long)t * width + v", "t * n_voxels + v"),
    ("row length of the samples", "gather", "samples[t * n_voxels", "samples[t * width"),
    ("start ignored", "gather", "centre[start + v]", "centre[v]"),
    ("no stride over tiles", "gather", "tile += (long long)gridDim.x * TILE", "tile += 1LL << 40"),
    ("a volume too many", "gather", "t < n_volumes", "t <= n_volumes"),
    ("no barrier before the sum", "gather", "= sum;\n        __syncthreads();", "= sum;"),
    ("no barrier after the sum", "gather", "__syncthreads();  // the next", "// the next"),
    ("barrier in a branch", "gather", "= sum;\n        __sync", "= sum;\n        if (v < width) __sync"),
    ("early return", "gather", "double sum = 0.0;\n", "double sum = 0.0;\n        if (v >= width) return;\n"),
    ("sums of squares in float32", "gather", "double sum = 0.0", "float sum = 0.0"),
    ("a lane left out", "correlate", "lane < LANES", "lane < LANES - 1"),
    ("shared too small", "correlate", "sums[LANES][TILE]", "sums[LANES - 1][TILE]"),
    ("row length of the output", "correlate", "s * n_voxels + start", "s * width + start"),
    ("clip on one side", "correlate", "value < -limit ? -limit : value", "value"),
    ("no barrier", "correlate", "= sum;\n        __syncthreads();", "= sum;"),
    ("norm of zero", "correlate", "norm > 0.0 ? dots", "norm >= 0.0 ? dots"),
    ("neighbour of the slab above", "roughness", "next_z < first_above", "next_z <= first_above"),
    ("stride of the slab above", "roughness", "inside ? n_here : n_above", "n_here"),
    ("one voxel for all", "roughness", "products[n_voxels + v] = xy", "products[n_voxels] = xy"),
    ("division by zero", "roughness", "total > 0.0 ? 1.0 / sqrt(total) : 0.0", "1.0 / sqrt(total)"),
    ("incomplete voxels counted", "roughness", "next_x >= 0", "next_x >= -1"),
    ("plain minimum", "label", "atomicMin(parent + high, low)", "parent[high]; if (low < before) parent[high] = low"),
    ("no second try", "label", "a = before;", "return;"),
    ("load kept in a register", "label", "above = RELAXED_LOAD(parent + v);\n    }", "above = parent[v];\n    }"),
    ("plain count", "label", "atomicAdd(sizes + root, 1)", "++sizes[root]"),
    ("one map for all", "label", "i - i % n_voxels + labels[i]", "labels[i]"),
    ("order of negative keys", "label", "bits >= 0 ? bits : bits ^ 0x7fffffff", "bits"),
    ("equal to the threshold", "label", "(double)values[i] > threshold", "(double)values[i] >= threshold"),
    ("sizes not cleared", "label", "sizes[i] = 0;", ""),
    ("half the neighbours twice", "label", "c < n_neighbours / 2", "c < n_neighbours / 3"),
]  # fmt: skip
#: Overflows of 31 bits: the build for undefined behaviour, or a wrong result, must notice.
NARROW = [
    ("gather", "samples[t * n_voxels + start + v]", "samples[t * (int)n_voxels + (int)start + (int)v]"),
    (
        "correlate",
        "const long long at = s * n_voxels + start + v;",
        "const int at = s * (int)n_voxels + int(start + v);",
    ),
]

RUNS = [("check", 0), ("check", 2), ("plain", 0), ("plain", 2), ("plain", 3), ("plain", 4)]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "right", "wrong"), [bug[1:] for bug in BUGS], ids=[bug[0] for bug in BUGS])
def test_a_planted_bug_is_caught(source: str, right: str, wrong: str) -> None:
    for build, schedule in RUNS:
        if caught(source, right, wrong, build, schedule, checks.CHECKS[source]):
            return
    pytest.fail("no build and no schedule notices")


@pytest.mark.slow
@pytest.mark.parametrize(("source", "right", "wrong"), NARROW, ids=[bug[0] for bug in NARROW])
def test_narrow_indices_are_caught(source: str, right: str, wrong: str) -> None:
    assert caught(source, right, wrong, "ubsan", 0, (checks.far_indices,))


def caught(
    source: str, right: str, wrong: str, build: str, schedule: int, run: tuple[Callable[[checks.Launches], None], ...]
) -> bool:
    if missing_compiler():
        pytest.skip(missing_compiler())
    text = (resource_folder("kernels") / f"{source}.cu").read_text()
    assert right in text, "the kernel has changed: plant the bug anew"
    with checks.launches(build, schedule=schedule, patch=lambda code: code.replace(right, wrong)) as on:
        try:
            for check in run:
                check(on)
        except (AssertionError, KernelError):
            return True
    return False
