"""nvcc compiles every kernel for three architectures, nothing spills, and docs/performance.md says what it found."""

from __future__ import annotations

from pathlib import Path

import pytest

from cuda_on_host.build import ENTRY_POINT, missing_compiler
from cuda_on_host.nvcc import ARCHITECTURES, compile_with_nvcc, missing_nvcc, nvcc_version
from cuda_on_host.traffic import count_traffic
from rsfc_gpu.resources import resource_folder

SOURCES = sorted(resource_folder("kernels").glob("*.cu"))
PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_nvcc_compiles_without_warning_or_spill(source: Path, tmp_path: Path) -> None:
    if missing_nvcc():
        pytest.skip(missing_nvcc())
    found = [compile_with_nvcc(source, architecture, tmp_path) for architecture in ARCHITECTURES]
    names = [match[1] for match in ENTRY_POINT.finditer(source.read_text())]
    written = PERFORMANCE.read_text()
    for name in names:
        resources = [one[name] for one in found]
        assert not any(one.spilled_bytes for one in resources)
        if f"nvcc {nvcc_version()}" in written:  # another release allots registers in another way
            registers = " | ".join(str(one.registers) for one in resources)
            assert f"| `{name}` | {registers} | 0 | {resources[0].shared_bytes:,} |" in written


def test_traffic_is_as_written() -> None:
    if missing_compiler():
        pytest.skip(missing_compiler())
    written = PERFORMANCE.read_text()
    for name, traffic in count_traffic().items():
        row = f"| `{name}` | {traffic.asked:,.1f} | {traffic.least:,.0f} | {traffic.in_sectors:,.1f} |"
        assert row in written, row
        assert traffic.in_sectors < 1.1 * traffic.asked, "accesses of a warp are scattered"
