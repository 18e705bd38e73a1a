"""Progress bars of the commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def progress_bars() -> Callable[[str, int, int], None]:
    """To be called with a stage, what is done of it and all there is: a bar per stage, on a terminal only."""
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            bars[stage] = tqdm(total=total, desc=stage, disable=None)
        bars[stage].update(done - bars[stage].n)
        if done == total:
            bars[stage].close()

    return progress
