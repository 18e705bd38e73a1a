"""What ran: the resolved study, versions, device and command, beside the results."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu import __version__
from rsfc_gpu.backend import Backend
from rsfc_gpu.files import write_text
from rsfc_gpu.images.atlas import read_card
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.models import BuiltModel, model_folder
from rsfc_gpu.study.outputs import digest_of, write_json
from rsfc_gpu.study.plan import Plan
from rsfc_gpu.study.raw_run import settings_in_words

_LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "pandas", "statsmodels", "scikit-learn", "nilearn", "cupy-cuda12x")


def write_study(out: Path, study: Study) -> None:
    """study.toml, which is a valid study file, and study.json."""
    write_text(out / "study.toml", study.to_toml())
    write_json(out / "study.json", study.model_dump(mode="json"))


def write_description(out: Path, plan: Plan, backend: Backend, command: str) -> None:
    """dataset_description.json of a BIDS derivative."""
    made_by = {
        "Name": "rsfc-gpu",
        "Version": __version__,
        "Backend": backend.name,
        "Device": backend.device,
        "Seed": plan.study.roc.seed,
        "Command": command,
    }
    description = {
        "Name": plan.study.report.title,
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
        "SourceDatasets": [{"URL": plan.dataset.root.as_uri()}],
    }
    write_json(out / "dataset_description.json", description)


def write_provenance(
    out: Path,
    plan: Plan,
    backend: Backend,
    how: Mapping[str, str],
    flow: pd.DataFrame,
    n_reused: int,
    seconds: dict[str, float],
) -> None:
    """provenance.json; the only file, with the logs, that differs between two runs of the same study.

    `how` : the command and the engine.
    """
    card = read_card(plan.study.seeds.atlas) if plan.study.seeds.atlas else None
    runs = flow[flow["bold"].notna()]
    count = runs["status"].value_counts()
    study = plan.study.model_dump(mode="json")
    record: dict[str, Any] = {
        "rsfc_gpu": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version for name in _LIBRARIES if (version := _version(name))},
        "backend": backend.name,
        "device": backend.device,
        "seed": plan.study.roc.seed,
        **how,
        "study": plan.study.name,
        "study_hash": digest_of(study),
        "input_form": plan.dataset.runs[0].form,
        "space": plan.dataset.runs[0].space,
        "tr_s": plan.tr_s,
        "preprocess": settings_in_words(plan.preprocess) if plan.preprocess else None,
        "atlas": card.title if card else None,
        "atlas_terms": card.terms if card else None,
        "runs": {
            "total": len(runs),
            **{status: int(count.get(status, 0)) for status in ("kept", "excluded", "failed")},
            "computed": len(runs) - n_reused,
            "reused": n_reused,
        },
        "seconds": seconds,
    }
    write_json(out / "provenance.json", record)


def write_models(
    out: Path, models: Sequence[BuiltModel], fits: Sequence[dict[str, Any]], plan: Plan, scans: pd.DataFrame
) -> None:
    """model.json and design.tsv of every model."""
    usable = float(scans["n_usable_voxels"].median()) if len(scans) else 0.0
    for one in models:
        folder = model_folder(out, one.model.name)
        found = {fit["seed"]: _fit_facts(fit, usable) for fit in fits if fit["model"] == one.model.name}
        design, model = one.design, one.model
        covariance = {"two_sample": model.variances, "flexible_factorial": model.covariance}.get(model.kind)
        settings = model.model_dump(mode="json", include={"name", "kind", "description", "levels", "contrasts"})
        facts = settings | {
            "covariates": [*model.covariates, *model.regressors],
            "covariance": covariance,
            "height_p": model.height_p,
            "connectivity": model.connectivity,
            "q": model.q,
            "seeds": list(model.seeds or plan.seeds),
            "skipped": one.problem,
            "n_images": 0 if design is None else len(design.rows),
            "columns": [] if design is None else list(design.columns),
            "cells": [] if design is None else list(design.cells),
            "absorbed": [] if design is None else list(design.absorbed),
            "dropped": one.dropped.to_dict("records"),
            "fits": {seed: found[seed] for seed in sorted(found)},
        }
        write_json(folder / "model.json", facts)
        table = one.scans[["participant_id", "session_id"]].reset_index(drop=True)
        if design is not None:
            columns = pd.DataFrame(np.asarray(design.matrix), columns=list(design.columns))
            table = pd.concat([table, columns], axis=1)
        write_tsv(table, folder / "design.tsv")


def _fit_facts(fit: dict[str, Any], usable: float) -> dict[str, Any]:
    if fit.get("skipped"):
        return {"skipped": fit["skipped"]}
    kept = {name: fit[name] for name in ("dof", "fwhm_mm", "resels", "voxels", "cell_n")}
    return kept | {"voxels_lost": round(usable - fit["voxels"])}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
