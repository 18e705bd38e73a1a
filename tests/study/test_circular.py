"""Circular figures of whole models: inflated on noise, while the cross-validated figure beside them is not."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from rsfc_gpu import group
from rsfc_gpu.clinical import stratified_folds
from rsfc_gpu.group.topology import find_topology
from rsfc_gpu.images.nifti import save_volume
from rsfc_gpu.study import clinical_stage
from rsfc_gpu.study.circular import SELECTED, CrossValidation, cross_validate
from rsfc_gpu.study.clusters import KEY, collect_clusters
from rsfc_gpu.study.config import Contrast, Model, parse_study
from rsfc_gpu.study.device import DeviceChoice
from rsfc_gpu.study.findings import Findings
from rsfc_gpu.study.honest import FoundAgain, Refit, find_again, people_of, training_designs
from rsfc_gpu.study.models import ModelTask, built, cluster_label_file, process_model
from study_dataset import STUDY

SHAPE, N = (10, 10, 10), 24
RESPONSE = np.where(np.arange(N) % 2 == 0, "responder", "nonresponder")
TWO_GROUPS = Model(
    name="groups",
    kind="two_sample",
    group="response",
    levels=("responder", "nonresponder"),
    variances="equal",
    contrasts=(Contrast(name="groups", weights="responder - nonresponder"),),
    height_p=0.02,
    q=0.99,  # noise has hardly a cluster that survives; here every one does
)
INTERACTION = Model(
    name="both",
    kind="flexible_factorial",
    sessions=("baseline", "after"),
    group="response",
    levels=("responder", "nonresponder"),
    covariance="independent",
    contrasts=(
        Contrast(
            name="interaction",
            weights="responder@after - responder@baseline - nonresponder@after + nonresponder@baseline",
        ),
        Contrast(
            name="time",
            test="F",
            weights="responder@after - responder@baseline + nonresponder@after - nonresponder@baseline",
        ),
    ),
    height_p=0.02,
    q=0.99,
)


def contrast(name):
    return Contrast(name=name, weights=name)


def scans_of_people(rng):
    """Two scans of each participant, with a covariate that goes with the reduction."""
    load = rng.normal(size=N)
    reduction = np.where(RESPONSE == "responder", 70.0, 25.0) + rng.normal(0, 8, N) + 4 * load
    people = pd.DataFrame(
        {
            "participant_id": [f"sub-{number:02}" for number in range(N)],
            "response": RESPONSE,
            "reduction_after": reduction,
            "load": load,
            "group": "MDD",
        }
    )
    twice = pd.concat([people.assign(session_id=name) for name in ("baseline", "after")])
    return people, twice.sort_values(["participant_id", "session_id"]).reset_index(drop=True)


def found_in_everybody(model, contrast, table, samples, out):
    """The largest cluster of the whole sample: its row, the model, and its mean z by session."""
    whole = built(model, table)
    fit = group.fit(samples[whole.scans.index], whole.design, affine=np.eye(4))
    weights = next(one.weights for one in model.contrasts if one.name == contrast)
    found = find_topology(fit.t(weights), height_p=model.height_p)
    assert len(found.clusters.voxels)
    row = {"model": model.name, "contrast": contrast, "seed": "a", "direction": "positive", "cluster": 1}
    cluster = SimpleNamespace(**row, test="t")
    labels = found.mask.put(found.labels)
    save_volume(cluster_label_file(out, cluster), labels.astype(np.int32), np.eye(4))
    at = {session: (table["session_id"] == session).to_numpy() for session in ("baseline", "after")}
    return cluster, whole, {name: samples[rows][:, labels == 1].mean(axis=1) for name, rows in at.items()}


def both_figures(model, contrast, sessions, seed, out, *, anywhere, effect=0.0):
    """The circular r, the cross-validated one, and the partial ones; `anywhere` looks for no cluster in particular."""
    rng = np.random.default_rng(seed)
    people, table = scans_of_people(rng)
    samples = np.stack([ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.0) for _ in range(len(table))])
    samples = (samples / samples.std()).astype(np.float32)
    planted = (table["response"] == "responder") & (table["session_id"] == sessions[-1])
    samples[planted.to_numpy(), 3:7, 3:7, 3:7] += effect
    cluster, whole, z = found_in_everybody(model, contrast, table, samples, out)
    if anywhere:
        save_volume(cluster_label_file(out, cluster), np.ones(SHAPE, dtype=np.int32), np.eye(4))
    positive = (people_of(whole)["response"] == "responder").to_numpy()
    splits = list(stratified_folds(positive, folds=4, repeats=2))
    refit = Refit(whole, table, samples, np.ones(SHAPE, dtype=bool), np.eye(4))
    of_session = find_again(refit, [cluster], training_designs(whole, splits), out, jobs=1)[0]
    again = FoundAgain(tuple(people_of(whole)["participant_id"]), positive, np.ones(N, dtype=bool), splits, of_session)
    beside = CrossValidation({tuple(getattr(cluster, name) for name in KEY): again})
    values = z[sessions[0]] if len(sessions) == 1 else z[sessions[1]] - z[sessions[0]]
    cells = [
        beside.correlation(cluster, sessions, people, "reduction_after", held, method)
        for held, method in (((), "Pearson"), (("load",), "partial Pearson"), (("load",), "partial Spearman"))
    ]
    assert all(cell["cv_n"] == N and cell["cv_folds"] == 8 for cell in cells)
    circular = np.corrcoef(values, people["reduction_after"])[0, 1]
    return np.array([circular, *(cell["cv_r_mean"] for cell in cells)])


CASES = [(TWO_GROUPS, "groups", ("baseline",)), (INTERACTION, "interaction", ("baseline", "after"))]


@pytest.mark.parametrize(("model", "contrast", "sessions"), CASES)
def test_noise_goes_with_the_outcome_only_where_it_was_selected(model, contrast, sessions, tmp_path):
    found = np.array(
        [both_figures(model, contrast, sessions, seed, tmp_path / str(seed), anywhere=True) for seed in range(25)]
    )
    circular, *honest = found.mean(axis=0)
    error = found.std(axis=0, ddof=1)[1:] / np.sqrt(len(found))
    assert circular > 0.5
    assert (np.abs(honest) < 2.6 * error).all() and (error < 0.06).all()  # 99 % of such means


@pytest.mark.parametrize(("model", "contrast", "sessions"), CASES)
def test_a_cluster_of_the_whole_sample_is_looked_for_and_a_real_one_stays(model, contrast, sessions, tmp_path):
    noise, real = (
        np.mean(
            [
                both_figures(model, contrast, sessions, s, tmp_path / f"{s}{effect}", anywhere=False, effect=effect)
                for s in range(5)
            ],
            axis=0,
        )
        for effect in (0.0, 2.0)
    )
    # Less than the circular one, though not nothing: which cluster to look for was chosen in everybody.
    assert (noise[1:] < noise[0] - 0.15).all()
    assert (real[1:] > 0.6).all()


def findings_of(models, tmp_path):
    people, table = scans_of_people(np.random.default_rng(0))
    study = parse_study(STUDY, "small")
    clusters = pd.DataFrame(columns=[*KEY, "region", "test"])
    values = pd.DataFrame(columns=[*KEY, "participant_id", "session_id", "z"])
    whole = {one.name: built(one, table) for one in models}
    return Findings(study, people, table, values, whole, clusters, {}, tmp_path)


def test_what_is_circular(tmp_path):
    base = {"kind": "regression", "height_p": 0.01}
    slope = Model(name="slope", regressors=("reduction_after",), contrasts=(contrast("reduction_after"),), **base)
    held = Model(
        name="held",
        regressors=("load",),
        covariates=("reduction_after",),
        contrasts=(contrast("load"), contrast("reduction_after")),
        **base,
    )
    only = Model(name="only", kind="one_sample", who={"response": ("responder",)}, contrasts=(contrast("mean"),))
    findings = findings_of([TWO_GROUPS, INTERACTION, slope, held, only], tmp_path)
    circular = {
        (model, contrast): findings.is_circular(SimpleNamespace(model=model, contrast=contrast))
        for model, built_model in findings.models.items()
        for contrast in [one.name for one in built_model.model.contrasts]
    }
    assert circular == {
        ("groups", "groups"): True,
        ("both", "interaction"): True,
        ("both", "time"): False,
        ("slope", "reduction_after"): True,
        ("held", "load"): False,
        ("held", "reduction_after"): True,
        ("only", "mean"): True,
    }


def test_where_nothing_can_be_cross_validated_the_reason_stands_there(tmp_path):
    only = Model(name="only", kind="one_sample", who={"response": ("responder",)}, contrasts=(contrast("mean"),))
    findings = findings_of([only], tmp_path)
    row = {"model": "only", "contrast": "mean", "seed": "a", "direction": "positive", "cluster": 1, "region": ""}
    clusters = pd.DataFrame([row | {"test": "t"}])
    study = findings.study.model_copy(
        update={"associations": findings.study.associations.model_copy(update={"models": ("only",)})}
    )
    beside = cross_validate(dataclasses.replace(findings, study=study, clusters=clusters), jobs=1)
    cluster = SimpleNamespace(**row)
    cells = beside.correlation(cluster, ("baseline",), findings.people, "reduction_after", (), "Pearson")
    assert cells == {"note": SELECTED + "; not cross-validated: 3 folds need at least 3 participants of either outcome, found 0"}  # fmt: skip # noqa: E501
    off = study.model_copy(update={"roc": study.roc.model_copy(update={"repeats": 0})})
    beside = cross_validate(dataclasses.replace(findings, study=off, clusters=clusters), jobs=1)
    assert beside.auc(cluster, "baseline", True) == {"note": SELECTED + "; not cross-validated: roc.repeats is 0"}


def test_participants_without_a_second_scan_are_left_out_of_the_change():
    positive = np.arange(12) % 2 == 0
    splits = list(stratified_folds(positive, folds=3, repeats=1))
    z = np.random.default_rng(0).normal(size=(2, 12))
    z[1, 4] = np.nan
    found = FoundAgain(
        tuple("abcdefghijkl"),
        positive,
        np.ones(12, dtype=bool),
        splits,
        {"first": [z[0]] * 3, "second": [z[1], None, z[1]]},
    )
    people = pd.DataFrame({"participant_id": list("abcdefghijkl"), "reduction": np.arange(12.0)})
    key = {"model": "m", "contrast": "c", "seed": "s", "direction": "positive", "cluster": 1}
    beside = CrossValidation({tuple(key.values()): found})
    cells = beside.correlation(SimpleNamespace(**key), ("first", "second"), people, "reduction", (), "Pearson")
    expected = np.zeros(12)
    for split in (splits[0], splits[2]):
        change = z[1] - z[0]
        expected[split.held_out] = change[split.held_out] - np.nanmean(change[split.training])
    kept = np.isfinite(expected)
    assert kept.sum() == cells["cv_n"] == 11 and cells["cv_folds_without"] == 1
    assert cells["cv_r_mean"] == pytest.approx(np.corrcoef(expected[kept], np.arange(12.0)[kept])[0, 1])


def test_an_unknown_outcome_is_no_negative_one():
    positive = np.arange(12) % 2 == 0
    splits = list(stratified_folds(positive, folds=3, repeats=1))
    z = np.where(positive, 1.0, 0.0)
    z[1] = 2.0  # would be the highest of all
    known = np.arange(12) != 1
    found = FoundAgain(tuple("abcdefghijkl"), positive, known, splits, {"first": [z] * 3})
    key = {"model": "m", "contrast": "c", "seed": "s", "direction": "positive", "cluster": 1}
    cells = CrossValidation({tuple(key.values()): found}).auc(SimpleNamespace(**key), "first", True)
    assert (cells["cv_n"], cells["cv_auc_mean"]) == (11, 1.0)


def test_clinical_tables_are_made_again_where_a_map_changed(tmp_path, monkeypatch):
    """Also where no significant cluster lies: what is found again without some of the participants may lie there."""
    findings = dataclasses.replace(findings_of([TWO_GROUPS], tmp_path), maps={"a": [tmp_path / "z.nii.gz"]})
    made = []
    monkeypatch.setattr(clinical_stage, "analyse", lambda *_: made.append(1) or {})
    for number, times in ((0, 1), (0, 1), (1, 2)):
        save_volume(findings.maps["a"][0], np.full(SHAPE, number, dtype=np.float32), np.eye(4))
        clinical_stage.analyse_where_needed(findings, jobs=1)
        assert len(made) == times


def model_of_maps(tmp_path, n, model):
    """What `process_model` needs of the first `n` people: `model` and a covariate, on maps of noise."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.nii.gz" for number in range(n)]
    for path in paths:
        save_volume(path, rng.normal(size=SHAPE).astype(np.float32), np.eye(4))
    table = pd.DataFrame({"participant_id": [f"sub-{number}" for number in range(n)], "session_id": "baseline"})
    table = table.assign(load=rng.normal(size=n), response=np.sort(RESPONSE[:n])[::-1])
    model = model.model_copy(update={"covariates": ("load",)})
    return ModelTask(model, built(model, table).design, "a", table, paths, tmp_path, DeviceChoice("cpu", 1))


def test_a_model_with_too_few_degrees_of_freedom_is_skipped_with_the_reason(tmp_path):
    """Five maps and three columns leave two degrees of freedom: a fit, but no field to judge clusters by."""
    found = process_model(model_of_maps(tmp_path, 5, TWO_GROUPS))
    assert found["skipped"].startswith("2 degrees of freedom of error are too few for random field theory")


@pytest.mark.parametrize("later", ["one direction", "too few people"])
def test_clusters_of_a_former_fit_are_no_results_of_a_later_one(tmp_path, later):
    study = parse_study(STUDY, "small").model_copy(update={"models": (TWO_GROUPS,)})
    process_model(model_of_maps(tmp_path, 16, TWO_GROUPS))
    assert set(collect_clusters(study, ["a"], tmp_path)["direction"]) == {"positive", "negative"}
    if later == "too few people":
        process_model(model_of_maps(tmp_path, 5, TWO_GROUPS))
        assert collect_clusters(study, ["a"], tmp_path).empty
    else:
        upwards = TWO_GROUPS.contrasts[0].model_copy(update={"directions": "positive"})
        process_model(model_of_maps(tmp_path, 16, TWO_GROUPS.model_copy(update={"contrasts": (upwards,)})))
        assert set(collect_clusters(study, ["a"], tmp_path)["direction"]) == {"positive"}
