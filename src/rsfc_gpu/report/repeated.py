"""One figure in many states, such as one per run: what does not move is drawn once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsfc_gpu.report.style import drawn_image, styled

FILE_DPI = 100


class Repeated:
    """Draws a figure again and again, the moving artists only: a tenth of the time of drawing it whole.

    Parameters
    ----------
    figure : with everything in it; it is this object's from now on.
    moving : artists that change between two pictures, in the order in which they cover each other.
    """

    @styled
    def __init__(self, figure: Any, moving: Sequence[Any]) -> None:
        self._figure, self._moving = figure, tuple(moving)
        figure.set_dpi(FILE_DPI)
        for artist in self._moving:
            artist.set_animated(True)
        figure.canvas.draw()
        self._still = figure.canvas.copy_from_bbox(figure.bbox)

    @styled
    def image(self) -> Any:
        """The figure as it is now, an image of Pillow at `FILE_DPI`."""
        self._figure.canvas.restore_region(self._still)
        for artist in self._moving:
            self._figure.draw_artist(artist)
        return drawn_image(self._figure)
