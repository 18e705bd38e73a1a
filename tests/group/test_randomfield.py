"""Random field theory against SPM12's own functions, FSL's cluster table, and laws that tie the kinds together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.randomfield import RandomField, ec_densities
from rsfc_gpu.group.tails import equivalent_z, upper_tail, value_at

GOLDEN = json.loads((Path(__file__).parents[1] / "reference" / "spm_random_field.json").read_text())
BRAIN = (1.0, 30.2, 350.5, 1200.7)


def spm_functions(reference_root: Path) -> dict[str, Any]:
    return json.loads((reference_root / "reference" / "spm" / "functions" / "functions.json").read_text())


def field_of(entry: dict[str, Any]) -> RandomField:
    return RandomField(entry["STAT"], tuple(entry["df"]), tuple(entry["R"]), entry["n"])


def check_tails(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        kind = "T" if entry["f"] in ("spm_Tcdf", "spm_u_T") else "F"
        dof = tuple(entry["df"]) if kind == "F" else (1, entry["df"])
        is_cdf = entry["f"].endswith("cdf")
        found = 1 - upper_tail(kind, dof, entry["x"]) if is_cdf else value_at(kind, dof, entry["x"])
        np.testing.assert_allclose(found, entry["y"], rtol=1e-6, err_msg=str(entry))


def check_ec_densities(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        found = ec_densities(entry["STAT"], entry["df"], entry["u"])
        np.testing.assert_allclose(found, entry["EC"], rtol=1e-6, err_msg=str(entry))


def check_clusters(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        field, height, extent = field_of(entry), entry["u"], entry["k_resels"]
        np.testing.assert_allclose(field.expected_clusters(height), entry["Ec"], rtol=1e-6, err_msg=str(entry))
        np.testing.assert_allclose(field.expected_extent(height), entry["Ek"], rtol=1e-6, err_msg=str(entry))
        np.testing.assert_allclose(field.cluster_p(extent, height), entry["p"], rtol=1e-6, err_msg=str(entry))
        # SPM forms 1 - cdf, which has no digits below 1e-16.
        found = field.p_of_clusters(entry["c"], height, extent)
        np.testing.assert_allclose(found, entry["P"], rtol=1e-6, atol=1e-15, err_msg=str(entry))


def check_critical_heights(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        found = field_of(entry).critical_height(entry["a"], entry.get("S"))
        assert found == pytest.approx(entry["u"], rel=1e-6), entry


def check_peak_fwe(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        found = field_of(entry).peak_fwe(entry["u"], entry["S"])
        np.testing.assert_allclose(found, entry["P_min_RF_Bonf"], rtol=1e-6, atol=1e-15, err_msg=str(entry))


def test_golden_numbers_of_spm() -> None:
    check_tails(GOLDEN["tails"])
    check_ec_densities(GOLDEN["ec_densities"])
    check_clusters(GOLDEN["clusters"])
    check_critical_heights(GOLDEN["critical_height"])
    check_peak_fwe(GOLDEN["peak_fwe"])


def test_every_reference_entry_of_spm(reference_root: Path) -> None:
    reference = spm_functions(reference_root)
    check_tails(reference["dist"])
    check_ec_densities(reference["spm_ECdensity"])
    assert len(reference["spm_P_RF"]) > 1000
    check_clusters(reference["spm_P_RF"])
    check_critical_heights(reference["spm_uc_RF"])
    check_critical_heights(reference["spm_uc"])
    check_peak_fwe(reference["spm_P"])


def test_t_with_many_degrees_of_freedom_is_gaussian() -> None:
    heights = np.linspace(1.25, 5, 9)
    np.testing.assert_allclose(
        ec_densities("T", (1, 1e7), heights), ec_densities("Z", (1, 1), heights), rtol=2e-5, atol=1e-12
    )


@pytest.mark.parametrize("dof", [7.0, 24.0, 79.3])
def test_f_with_one_numerator_degree_is_the_square_of_t(dof: float) -> None:
    """T^2 exceeds u^2 above u and below -u: twice the density, in every dimension."""
    heights = np.linspace(1.5, 7, 12)
    np.testing.assert_allclose(
        ec_densities("F", (1, dof), heights**2), 2 * ec_densities("T", (1, dof), heights), rtol=1e-10
    )


def test_chi_squared_exceeds_the_published_densities_as_stated() -> None:
    """With one degree of freedom it is Z^2, but for the factor height^((d - 1) / 2) that the docstring names."""
    heights = np.linspace(1.5, 5, 8) ** 2
    extra = heights ** np.array([[0.0], [0.0], [0.5], [1.0]])
    expected = 2 * ec_densities("Z", (1, 1), np.sqrt(heights)) * extra
    np.testing.assert_allclose(ec_densities("X", (1, 1), heights), expected, rtol=1e-10)


@pytest.mark.parametrize(("kind", "dof"), [("Z", (1, 1)), ("T", (1, 21.7)), ("F", (2, 39)), ("F", (1, 80))])
def test_critical_height_solves_for_the_peak_p(kind: str, dof: tuple[float, float]) -> None:
    field = RandomField(kind, dof, BRAIN)
    for alpha in (0.2, 0.05, 1e-4):
        np.testing.assert_allclose(field.peak_fwe(field.critical_height(alpha)), alpha, rtol=1e-8)
        bounded = field.critical_height(alpha, 30_000)
        np.testing.assert_allclose(field.peak_fwe(bounded, 30_000), alpha, rtol=1e-8)
        assert bounded <= field.critical_height(alpha)


def test_larger_and_higher_is_rarer() -> None:
    field = RandomField("T", (1, 79), BRAIN)
    for p in (
        field.cluster_p(np.linspace(0, 5, 50), 3.2),
        field.p_of_clusters(1, 3.2, np.linspace(0, 5, 50)),
        field.peak_fwe(np.linspace(3, 12, 50), 40_000),
        field.peak_p_above(np.linspace(3.2, 12, 50), 3.2),
        np.array([field.p_of_clusters(c, 3.2) for c in range(50)]),
    ):
        assert (np.diff(p) <= 0).all()
        assert p.min() >= 0
        assert p.max() <= 1


def test_set_level_is_a_poisson_tail() -> None:
    field = RandomField("T", (1, 79), BRAIN)
    expected = float(field.expected_clusters(3.2))
    for count in (0, 1, 5, 40):
        np.testing.assert_allclose(field.p_of_clusters(count, 3.2), stats.poisson.sf(count - 1, expected), rtol=1e-9)


def test_dimensions_of_the_search_volume() -> None:
    line, plane = RandomField("Z", (1, 1), (1, 20, 0, 0)), RandomField("Z", (1, 1), (1, 20.5, 80.3, 0))
    point = RandomField("Z", (1, 1), (1, 0, 0, 0))
    assert (point.dimensions, line.dimensions, plane.dimensions) == (0, 1, 2)
    assert point.cluster_p(3.0, 2.5) == 1
    # In one dimension the extent is Rayleigh distributed about its mean, in two exponentially.
    extent = line.expected_extent(2.5)
    np.testing.assert_allclose(line.cluster_p(extent, 2.5), np.exp(-((np.sqrt(np.pi) / 2) ** 2)), rtol=1e-12)
    np.testing.assert_allclose(plane.cluster_p(plane.expected_extent(2.5), 2.5), np.exp(-1), rtol=1e-12)


def test_mask_with_holes_gives_probabilities() -> None:
    field = RandomField("T", (1, 20), (-56.0, -2.4, 323.9, 49.3))
    p = field.peak_fwe(np.linspace(-3, 30, 100))
    assert ((p >= 0) & (p <= 1)).all()
    assert np.isfinite(field.critical_height(0.05))


def test_infinite_values() -> None:
    for kind in ("Z", "T", "F", "X"):
        field = RandomField(kind, (1, 20), BRAIN)
        assert field.peak_fwe(np.inf, 1000) == 0
        assert field.cluster_p(np.array([]), np.inf).shape == (0,)


def test_unknown_kind_and_level() -> None:
    with pytest.raises(InputError, match="unknown kind"):
        ec_densities("S", (1, 1), 3.0)
    with pytest.raises(InputError, match="unknown kind"):
        value_at("S", (1, 1), 0.05)
    with pytest.raises(InputError, match="alpha"):
        RandomField("Z", (1, 1), BRAIN).critical_height(0.0)


@pytest.mark.parametrize(
    ("kind", "dof", "scipy_tail"),
    [
        ("Z", (1, 1), stats.norm),
        ("T", (1, 20.99), stats.t(20.99)),
        ("F", (1, 79), stats.f(1, 79)),
        ("F", (2.0, 39.5), stats.f(2, 39.5)),
        ("X", (1, 3), stats.chi2(3)),
    ],
)
def test_tails_against_scipy(kind: str, dof: tuple[float, float], scipy_tail: Any) -> None:
    values = np.linspace(0.1, 9, 30)
    np.testing.assert_allclose(upper_tail(kind, dof, values), scipy_tail.sf(values), rtol=1e-9)
    p = np.logspace(-12, -0.31, 30)
    np.testing.assert_allclose(upper_tail(kind, dof, value_at(kind, dof, p)), p, rtol=1e-6)
    z = equivalent_z(kind, dof, values)
    np.testing.assert_allclose(stats.norm.sf(z), upper_tail(kind, dof, values), rtol=1e-9)


def test_equivalent_z_is_odd_and_keeps_precision() -> None:
    t = np.array([-30.0, -8.0, -0.5, 0.0, 0.5, 8.0, 30.0])
    z = equivalent_z("T", (1, 98), t)
    np.testing.assert_array_equal(z, -z[::-1])
    np.testing.assert_allclose(stats.norm.logsf(z[-1]), stats.t.logsf(30, 98), rtol=1e-9)


def test_t_to_z_of_fsl(reference_root: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = reference_root / "realdata" / "07_fsl_feat_maps"
    t, z, mask = (np.asarray(nibabel.load(folder / f"{name}.nii.gz").dataobj) for name in ("tstat1", "zstat1", "mask"))
    dof = float((folder / "dof").read_text())
    found = equivalent_z("T", (1, dof), t[mask > 0])
    assert found.size > 30_000
    np.testing.assert_allclose(found, z[mask > 0], atol=1e-5)


def test_cluster_probabilities_of_fsl(reference_root: Path) -> None:
    folder = reference_root / "realdata" / "07_fsl_feat_maps"
    smoothness = dict(line.split()[:2] for line in (folder / "clustfwep05_smoothness").read_text().splitlines())
    voxels = float(smoothness["VOLUME"])
    resels = voxels * float(smoothness["DLH"]) / (4 * np.log(2)) ** 1.5  # DLH: root of the roughness determinant
    field = RandomField("Z", (1, 1), (0.0, 0.0, 0.0, resels))
    rows = [line.split("\t") for line in (folder / "clustfwep05_cluster_zstat1.txt").read_text().splitlines()[1:]]
    assert len(rows) == 7
    for row in rows:
        extent, minus_log_p = int(row[1]), row[3]
        found = -np.log10(field.p_of_clusters(1, 2.3, extent * resels / voxels))
        # Three printed digits, of a probability computed from a smoothness printed with six.
        assert found == pytest.approx(float(minus_log_p), rel=0.005), row


@pytest.mark.parametrize(("kind", "dof"), [("F", (1, 2)), ("F", (2, 1)), ("F", (1.5, 1.5)), ("T", (1, 2))])
def test_too_few_degrees_of_freedom_are_refused(kind, dof):
    with pytest.raises(InputError, match=rf"^{dof[1]:g} degrees of freedom of error are too few .* in 3 dimensions"):
        RandomField(kind, dof, BRAIN)


def test_fewer_dimensions_need_fewer_degrees_of_freedom():
    plane = (1.0, 20.5, 80.3, 0.0)
    height = float(value_at("T", (1, 2), 0.001))
    one_sided = RandomField("T", (1, 2), plane).expected_clusters(height)
    both_sides = RandomField("F", (1, 2), plane).expected_clusters(height**2)
    assert both_sides == pytest.approx(2 * one_sided)  # F is the square of t
    with pytest.raises(InputError, match="needs at least 2"):
        RandomField("F", (1, 1), plane)
    assert RandomField("F", (1, 3), BRAIN).expected_clusters(200.0) > 0
