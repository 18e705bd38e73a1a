"""What was done to raw runs, in sentences: one for each step that ran, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rsfc_gpu.preprocess.normalise import CUTOFF_MM, STIFFNESS_DEFAULT, STIFFNESS_GIVEN

Cite = Callable[..., str]  # keys of works -> " [1, 2]"
_ORDERS = {
    "sidecar": "by the acquisition times that the images' sidecars state",
    "ascending": "for an ascending order of acquisition",
    "descending": "for a descending order of acquisition",
    "interleaved": "for an interleaved order of acquisition, odd slices first",
    "interleaved-even-first": "for an interleaved order of acquisition, even slices first",
}


def raw_run_sentences(settings: Mapping[str, Any], tissues: tuple[str, ...], cite: Cite) -> list[str]:
    """Slice timing, realignment, normalisation, and the masks of tissues whose signals were removed.

    Parameters
    ----------
    settings : of the preprocessing, as provenance.json holds them; without any there is nothing to say.
    tissues : "white_matter", "csf", as far as their mean signals were used.
    """
    if not settings:
        return []
    text = []
    order = str(settings.get("slice_timing", "none"))
    if order != "none":
        text.append(
            "Slices were brought to the time of the one acquired in the middle by a Fourier phase shift of their "
            f"series{cite('slice_timing')}, {_ORDERS.get(order, order)}."
        )
    text.append(
        "Volumes were realigned by least squares over a rigid movement, first to the first volume and then to the "
        f"mean of that pass, with fourth-degree B-splines{cite('realign')}."
    )
    text += _normalisation(settings, cite)
    if tissues:
        names = " and ".join({"white_matter": "white matter", "csf": "cerebrospinal fluid"}[name] for name in tissues)
        text.append(
            f"The mask{'s' if len(tissues) > 1 else ''} of {names} held the voxels whose probability in the ICBM152 "
            f"tissue maps{cite('icbm')} was above 0.9, eroded by 1 mm."
        )
    return text


def _normalisation(settings: Mapping[str, Any], cite: Cite) -> list[str]:
    is_default = settings.get("template_digest") is None
    stiffness = settings.get("stiffness") or (STIFFNESS_DEFAULT if is_default else STIFFNESS_GIVEN)
    template = str(settings.get("template", "an EPI template"))
    named = f"a template of EPI contrast ({template}{cite('icbm')})" if is_default else f"the template {template!r}"
    text = [
        f"The mean image of each run was normalised to {named} by a 12-parameter affine transformation and then by "
        f"cosine warps of half period {CUTOFF_MM:g} mm and longer{cite('normalise')}, with a penalty of "
        f"{stiffness:g} per mm on the squared Laplacian of the displacement."
    ]
    if settings.get("template_offset"):
        text.append(f"Measured offset of this template: {settings['template_offset']}.")
    written = (
        "in one fourth-degree interpolation from the volumes as scanned"
        if settings.get("single_interpolation")
        else "by trilinear interpolation from the realigned volumes"
    )
    text.append(f"Normalised runs were written at {settings['voxel_mm']:g} mm {written}.")
    if settings.get("minimum_dice"):
        text.append(
            f"A normalisation whose overlap (Dice) with the ICBM152 brain was below {settings['minimum_dice']:g} "
            "counted as failed."
        )
    return text
