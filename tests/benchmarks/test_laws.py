"""Fitted exponents, and the arithmetic of the projection."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from laws import GPU, device_seconds, fit_law, fit_line, predicted_stages, project

SIZES = [10.0, 20.0, 40.0, 80.0, 160.0]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.7])
def test_a_known_power_law_is_recovered(exponent: float) -> None:
    law = fit_law(SIZES, [3.0 * size**exponent for size in SIZES])
    assert law.exponent == pytest.approx(exponent, abs=1e-12)
    assert law.coefficient == pytest.approx(3.0)
    assert law.last_exponent == pytest.approx(exponent, abs=1e-12)
    assert law.high - law.low < 1e-6
    assert law.at(1000.0) == pytest.approx(3.0 * 1000.0**exponent)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        law = fit_law(SIZES, [size**1.5 * np.exp(rng.normal(0, 0.1)) for size in SIZES])
        held += law.low <= 1.5 <= law.high
    assert 365 <= held <= 394  # 95 %: 380, within about 3.3 standard deviations


def test_a_fixed_cost_bends_the_line_and_the_last_exponent_says_so() -> None:
    law = fit_law(SIZES, [50.0 + size for size in SIZES])
    assert law.exponent < law.last_exponent < 1.0


def test_two_points_are_no_law() -> None:
    with pytest.raises(ValueError, match="three points"):
        fit_law([1.0, 2.0], [1.0, 2.0])


def test_a_line_is_recovered() -> None:
    assert fit_line(SIZES, [0.4 + 0.25 * size for size in SIZES]) == pytest.approx((0.4, 0.25))


def test_no_part_of_a_line_is_negative() -> None:
    fixed, each = fit_line([1.0, 2.0, 4.0], [1.0, 0.9, 0.8])
    assert each == 0.0
    assert fixed > 0.8


def axes_of_a_known_cost(cost: Any) -> dict[str, Any]:
    """Axes as scaling.py writes them, of a run that costs cost(volumes, voxels)."""
    volumes, voxels = [100, 200, 400], [1000, 2000, 4000]
    along_t, along_v = [cost(t, 2000) for t in volumes], [cost(200, v) for v in voxels]
    stage = {"median_s": along_t, "law": fit_law([*map(float, volumes)], along_t).as_json()}
    other = {"median_s": along_v, "law": fit_law([*map(float, voxels)], along_v).as_json()}
    return {
        "volumes": {"fixed": {"voxels": 2000}, "sizes": volumes, "stages": {"whole": stage, "operator": stage}},
        "voxels": {"fixed": {"volumes": 200}, "sizes": voxels, "stages": {"whole": other}},
    }


def test_laws_of_two_axes_predict_another_size() -> None:
    axes = axes_of_a_known_cost(lambda t, v: 1e-6 * t**1.5 * v)
    found = predicted_stages(axes, n_volumes=900, n_voxels=9000)
    assert found["whole"] == pytest.approx(1e-6 * 900**1.5 * 9000)
    assert found["operator"] == pytest.approx(1e-6 * 900**1.5 * 2000)  # of an axis that was not measured: no change


MEASURED = {
    "paper_run": {
        "volumes": 230,
        "voxels": 70_000,
        "seeds": 6,
        "rank": 90,
        "stages_s": {"decode": 0.25, "read": 0.30, "operator": 0.005, "maps": 0.05, "whole": 0.36},
        "compressed_bytes": 67_000_000,
        "added_memory_bytes": 50_000_000,
        "process_bytes": 200_000_000,
    },
    "study": {
        "seconds_a_run": 0.30,
        "decode_s_a_run": 0.10,
        "efficiency_of_two_workers": 0.9,
        "result_bytes_a_run": 2_000_000,
    },
}


def test_the_projection_is_arithmetic_on_what_was_measured() -> None:
    found = project(MEASURED, runs=1000, cores=32)
    assert found["projection"] is True
    cpu, gpu = found["nodes"]["cpu"], found["nodes"]["gpu"]
    assert cpu["core_seconds_a_run"] == pytest.approx(0.30 + 0.25 - 0.10)
    assert cpu["fast_s"] == pytest.approx(1000 * 0.45 / 32)
    assert cpu["slow_s"] == pytest.approx(1000 * 0.45 / 32 / 0.9**5)
    assert gpu["core_seconds_a_run"] == pytest.approx(0.40)
    assert gpu["fast_s"] == pytest.approx(1000 * 0.40 / 32)
    assert cpu["read_bytes_s"] == pytest.approx(67e6 * 32 / 0.45)
    assert found["memory_bytes"] == 200_000_000 + 32 * 50_000_000
    assert found["disk"] == {
        "images_bytes": 67e9,
        "results_bytes": 2e9,
        "one_gigabyte_a_second_s": pytest.approx(67.0),
    }


def test_cores_never_scale_better_than_perfectly() -> None:
    measured = copy.deepcopy(MEASURED)
    measured["study"]["efficiency_of_two_workers"] = 1.1
    node = project(measured)["nodes"]["cpu"]
    assert node["slow_s"] == pytest.approx(node["fast_s"])


def test_times_that_contradict_each_other_are_not_projected() -> None:
    measured = copy.deepcopy(MEASURED)
    measured["study"]["seconds_a_run"] = -0.2
    with pytest.raises(ValueError, match="measure again"):
        project(measured)


def test_a_slow_device_would_set_the_time() -> None:
    measured = copy.deepcopy(MEASURED)
    measured["paper_run"] |= {"rank": 900_000}
    found = project(measured, runs=1000, cores=32)
    device_s = sum(found["device_seconds"].values())
    assert device_s > 0.40 / 32
    assert found["nodes"]["gpu"]["fast_s"] == pytest.approx(1000 * device_s)


def test_device_seconds_count_flops_and_bytes() -> None:
    found = device_seconds(MEASURED["paper_run"])
    flops_s = 2 * 70_000 * 90 * 236 / GPU["flops_s"] / GPU["reached"]
    bytes_s = 70_000 * (230 * 10 + 90 * 12 + 6 * 16) / GPU["bytes_s"] / GPU["reached"]
    assert found["maps"] == pytest.approx(max(flops_s, bytes_s))
    assert found["upload"] == pytest.approx(70_000 * 230 * 2 / 50e9)
