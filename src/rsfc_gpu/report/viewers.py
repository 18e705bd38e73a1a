"""Interactive viewers of statistic maps: nilearn's, made fit for a page that runs only scripts it knows."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.report.brain_maps import Kind, colours, scale_end

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
_STYLE_ATTRIBUTE = re.compile(r"""\sstyle=("[^"]*"|'[^']*')""", re.IGNORECASE)
_LINK = re.compile(r"<link\b[^>]*>", re.IGNORECASE)
_VIEWER_ID = re.compile(r'"3Dviewer-([^"]+)"')
# What nilearn says in attributes, said where the page's policy can allow it by a hash.
VIEWER_STYLE = (
    "body{margin:0;background:#fff;color:#1a1a1a;font:13px system-ui,sans-serif}"
    "canvas{max-width:100%;cursor:crosshair}.hidden,span{display:none}"
    "body>div>div{display:flex;align-items:center;gap:10px;padding:0 8px}p{margin:4px 0}"
)
# A frame may run its scripts before it has a size: nilearn's would then draw on nothing. Nor does it draw anew when the
# size changes; its slider does.
_BEFORE = """(function start() {
if (!document.documentElement.clientWidth) { setTimeout(start, 50); return; }
var isLate = document.readyState === "complete";
"""
_AFTER = """
if (isLate) { window.dispatchEvent(new Event("load")); }
window.addEventListener("resize", function () {
var slider = document.querySelector("input[type=range]");
if (slider) { slider.dispatchEvent(new Event("input")); }
});
})();"""


@dataclass(frozen=True)
class Viewer:
    """An interactive viewer for an `<iframe srcdoc>`.

    Attributes
    ----------
    document : the whole document; it fetches nothing and has no inline style or handler.
    scripts : the text of its scripts, which the policy of the page must allow by hash.
    """

    document: str
    scripts: tuple[str, ...]


def viewer(
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    *,
    threshold: float,
    kind: Kind,
    name: str,
    cut_mm: Sequence[float] | None = None,
) -> Viewer:
    """The viewer of a map (X, Y, Z): three crossing slices that follow the mouse.

    Parameters
    ----------
    threshold : smallest magnitude that is shown.
    kind : of the statistic; it chooses the colours.
    name : tells this viewer from the others, so that the same page is made twice alike.
    cut_mm : where the slices cross at first.
    """
    import nibabel as nib
    from nilearn import plotting

    finite = np.nan_to_num(values).astype(np.float32)
    limit = float(np.ceil(10 * scale_end(finite, threshold)) / 10)  # a short number in the scale
    lowest = 0.0 if kind == "F" else -limit
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn warns of masked arrays within NumPy
        view = plotting.view_img(
            nib.Nifti1Image(finite, affine),
            threshold=threshold,
            vmax=limit,
            vmin=lowest,
            symmetric_cmap=kind == "t",
            cmap=colours(threshold, limit, kind=kind, lowest=lowest),
            cut_coords=None if cut_mm is None else tuple(float(mm) for mm in cut_mm),
            resampling_interpolation="nearest",
            black_bg=False,
            title=None,  # nilearn writes a title unescaped
        )
    return _without_inline_parts(str(view.html), name)


def _without_inline_parts(html: str, name: str) -> Viewer:
    chance = _VIEWER_ID.search(html)
    if chance:  # nilearn draws a new identifier each time; the same page must come out the same
        html = html.replace(chance[1], hashlib.sha256(name.encode()).hexdigest()[:32])
    # Splitting at scripts gives: markup, script, markup, script, ..., markup. The last script draws.
    parts = _SCRIPT.split(html)
    parts[-2] = _BEFORE + parts[-2] + _AFTER
    scripts = tuple(parts[1::2])
    markup = [_STYLE_ATTRIBUTE.sub("", _LINK.sub("", text)) for text in parts[0::2]]
    pieces = [markup[0]]
    for script, text in zip(scripts, markup[1:], strict=True):
        pieces += [f"<script>{script}</script>", text]
    document = "".join(pieces).replace("</head>", f"<style>{VIEWER_STYLE}</style></head>", 1)
    return Viewer(document, scripts)


def source_hash(text: str) -> str:
    """The hash of a script or style as a Content-Security-Policy names it, 'sha256-...'."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
