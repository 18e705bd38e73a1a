"""The benchmarks are scripts beside the package: their folder goes on the path."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))
sys.path.append(str(Path(__file__).parent))
