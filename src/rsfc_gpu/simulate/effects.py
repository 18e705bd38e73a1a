"""The connectivity effects that a cohort carries: where, with which seed, in which direction, how large.

Places and seeds are those of a published study of ketamine in major depression. Its Table 2 prints coordinates; for
patients against controls it prints names, and the centre of the AAL region is taken. Directions that it does not print
(interaction, time) are chosen here so that both signs occur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias, get_args

import numpy as np

from rsfc_gpu.errors import InputError
from rsfc_gpu.images.atlas import aal_labels

Level = Literal["clear", "paper", "none"]
Kind = Literal["patients-controls", "time", "responders-nonresponders", "interaction"]

N_CONTROLS, N_RESPONDERS, N_NONRESPONDERS = 45, 19, 20
N_PATIENTS = N_RESPONDERS + N_NONRESPONDERS

#: True effect size of each kind at the level `clear`.
CLEAR_D: dict[str, float] = {
    "patients-controls": 1.4,
    "time": 1.2,
    "responders-nonresponders": 2.0,
    "interaction": 2.2,
}
#: What d is, by kind.
D_MEANING: dict[str, str] = {
    "patients-controls": "(mean of patients - mean of controls) / SD within groups, at baseline",
    "time": "mean change from baseline to Day 13 / SD of the change",
    "responders-nonresponders": "(mean of responders - mean of nonresponders) / SD within groups, at baseline",
    "interaction": "(mean change of responders - mean change of nonresponders) / SD of the change within groups",
}
#: No statistic is printed for patients against controls; this one passes the usual thresholds, but not by far.
TYPICAL_T = 4.6


@dataclass(frozen=True)
class Effect:
    """One planted effect.

    Attributes
    ----------
    name : unique, "CMleft_interaction_1".
    kind : which contrast it belongs to.
    seed : as the atlas card spells it.
    region : in words; of AAL where `xyz_mm` is the region's centre.
    xyz_mm : MNI coordinates.
    sign : +1 or -1 of the contrast patients - controls, Day 13 - baseline, responders - nonresponders, or of the
        change of responders - the change of nonresponders.
    t : the size of the study's statistic (square root of F), or None where it prints none.
    """

    name: str
    kind: Kind
    seed: str
    region: str
    xyz_mm: tuple[float, float, float]
    sign: int
    t: float | None

    def d(self, level: Level) -> float:
        """True effect size with its sign, in units of the SD that `D_MEANING` names; 0 at the level `none`.

        At `paper`, the size whose expected statistic in the study's sample is the one it printed.
        """
        if level not in get_args(Level):
            raise InputError(f"effects = {level!r}: expected one of {', '.join(get_args(Level))}")
        if level == "none":
            return 0.0
        if level == "clear":
            return self.sign * CLEAR_D[self.kind]
        if self.kind == "time":
            per_d = math.sqrt(N_PATIENTS)
        elif self.kind == "patients-controls":
            per_d = 1 / math.sqrt(1 / N_PATIENTS + 1 / N_CONTROLS)
        else:
            per_d = 1 / math.sqrt(1 / N_RESPONDERS + 1 / N_NONRESPONDERS)
        return self.sign * (self.t or TYPICAL_T) / per_d


@dataclass(frozen=True)
class Association:
    """Correlations of the connectivity of one effect at baseline with the clinical course, among patients.

    Attributes
    ----------
    effect : name of the effect whose place and seed it has.
    day13, day19 : correlation with the reduction rate of HAMD-17, per cent, at these visits.
    medication : correlation with the medication load index. Where it is positive and the load goes with a smaller
        reduction, the partial correlation given the load is larger than the plain one, as in the study.
    """

    effect: str
    day13: float
    day19: float
    medication: float


_Row: TypeAlias = tuple[Kind, str, str, tuple[float, float, float], int, float | None]
_TABLE_2: tuple[_Row, ...] = (
    ("interaction", "CMleft", "superior orbitofrontal L", (-12, 48, -21), -1, math.sqrt(24.19)),
    ("interaction", "LBleft", "middle frontal R", (51, 18, 42), -1, math.sqrt(25.68)),
    ("interaction", "CMright", "superior orbitofrontal L", (-21, 48, -21), 1, math.sqrt(27.50)),
    ("time", "LBleft", "middle frontal R", (30, 33, 54), 1, math.sqrt(26.89)),
    ("time", "LBleft", "superior frontal, dorsolateral L", (-15, 60, 18), 1, math.sqrt(23.96)),
    ("time", "LBleft", "superior occipital R", (36, -81, 42), -1, math.sqrt(17.37)),
    ("time", "SFright", "middle frontal R", (45, 51, 6), -1, math.sqrt(22.48)),
    ("responders-nonresponders", "LBleft", "superior and middle temporal R", (51, -30, 3), 1, 5.15),
)
_PATIENTS_CONTROLS: dict[str, tuple[tuple[int, str], ...]] = {
    "CMleft": ((1, "Postcentral_L"), (-1, "Insula_L"), (-1, "Insula_R"), (-1, "Putamen_L"), (-1, "Supp_Motor_Area_R")),
    "LBleft": ((1, "Precuneus_L"), (1, "Temporal_Inf_R")),
    "SFleft": ((-1, "Putamen_L"), (-1, "Putamen_R"), (-1, "Frontal_Inf_Oper_L"), (-1, "Cingulate_Mid_R")),
    "CMright": (
        (1, "Postcentral_L"),
        (1, "Postcentral_R"),
        (1, "Paracentral_Lobule_L"),
        (1, "Rolandic_Oper_R"),
        (1, "Occipital_Sup_R"),
        (-1, "Frontal_Inf_Orb_2_L"),
        (-1, "Frontal_Sup_2_L"),
        (-1, "Cerebelum_Crus1_R"),
        (-1, "Vermis_1_2"),
    ),
    "SFright": ((-1, "Putamen_L"), (-1, "Putamen_R")),
}
_ASSOCIATED = ("LBleft", "Precuneus_L")


@cache
def planted_effects() -> tuple[Effect, ...]:
    """Every effect, in a fixed order; none for the right laterobasal group, for which the study found nothing."""
    rows: list[_Row] = [*_TABLE_2]
    rows += [
        ("patients-controls", seed, region, region_centre(region), sign, None)
        for seed, regions in _PATIENTS_CONTROLS.items()
        for sign, region in regions
    ]
    effects: list[Effect] = []
    for kind, seed, region, xyz, sign, t in rows:
        number = 1 + sum(effect.kind == kind and effect.seed == seed for effect in effects)
        effects.append(Effect(f"{seed}_{kind}_{number}", kind, seed, region, xyz, sign, t))
    return tuple(effects)


def planted_association(level: Level) -> Association | None:
    """The association at `level`; None at `none`.

    `paper` has the printed correlations (.37 on Day 13, .49 on Day 19, and .54 on Day 13 given medication load).
    """
    if level == "none":
        return None
    name = next(
        effect.name
        for effect in planted_effects()
        if (effect.seed, effect.region) == _ASSOCIATED and effect.kind == "patients-controls"
    )
    return Association(name, 0.60, 0.60, 0.15) if level == "clear" else Association(name, 0.37, 0.49, 0.33)


@cache
def region_centre(name: str) -> tuple[float, float, float]:
    """Centre of mass of an AAL region, mm, rounded to whole mm.

    Raises
    ------
    InputError : the atlas has no such region.
    """
    labels, affine, names = aal_labels()
    value = next((value for value, known in names.items() if known == name), None)
    if value is None:
        raise InputError(f"the AAL atlas has no region {name!r}")
    centre = affine[:3, :3] @ np.argwhere(labels == value).mean(axis=0) + affine[:3, 3]
    x, y, z = (float(round(value)) for value in centre)
    return x, y, z
