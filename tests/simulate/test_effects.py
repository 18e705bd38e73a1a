"""The planted effects are the published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate.effects import CLEAR_D, planted_association, planted_effects, region_centre

EFFECTS = planted_effects()


def test_every_published_effect_is_there_once() -> None:
    kinds = [effect.kind for effect in EFFECTS]
    counts = {kind: kinds.count(kind) for kind in CLEAR_D}
    assert counts == {"interaction": 3, "time": 4, "responders-nonresponders": 1, "patients-controls": 22}
    assert len({effect.name for effect in EFFECTS}) == len(EFFECTS)
    assert len({(effect.kind, effect.seed, effect.xyz_mm) for effect in EFFECTS}) == len(EFFECTS)
    assert "LBright" not in {effect.seed for effect in EFFECTS}


def test_clear_effects_have_the_stated_sizes_and_none_has_none() -> None:
    for effect in EFFECTS:
        assert effect.d("clear") == effect.sign * CLEAR_D[effect.kind]
        assert effect.d("none") == 0
    assert planted_association("none") is None
    with pytest.raises(InputError, match="clear, paper, none"):
        EFFECTS[0].d("huge")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "seed", "n", "printed"),
    [
        ("interaction", "CMright", 1 / (1 / 19 + 1 / 20), 27.50),
        ("time", "LBleft", 39, 26.89),
        ("responders-nonresponders", "LBleft", 1 / (1 / 19 + 1 / 20), 5.15**2),
    ],
)
def test_paper_sizes_give_back_the_printed_statistic(kind: str, seed: str, n: float, printed: float) -> None:
    effect = next(effect for effect in EFFECTS if effect.kind == kind and effect.seed == seed)
    assert (effect.d("paper") * math.sqrt(n)) ** 2 == pytest.approx(printed)


def test_centres_of_regions_lie_on_their_side() -> None:
    for name in ("Postcentral_L", "Putamen_L", "Precuneus_L"):
        assert region_centre(name)[0] < 0
    assert region_centre("Occipital_Sup_R")[0] > 0
    # AAL's putamen is nearly symmetric about the midline.
    np.testing.assert_allclose(np.abs(region_centre("Putamen_L")), np.abs(region_centre("Putamen_R")), atol=4)
    with pytest.raises(InputError, match="no region 'Atlantis'"):
        region_centre("Atlantis")
