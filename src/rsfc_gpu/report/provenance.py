"""What ran, on what, and what went wrong: the facts for the methods text, the failures, versions and the command."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.methods_text import Facts, ModelFacts, methods_text
from rsfc_gpu.report.outputs import Outputs, has_result
from rsfc_gpu.report.page import Block, Code, Text
from rsfc_gpu.report.people import left_out
from rsfc_gpu.report.tables import counted


def facts_of(outputs: Outputs) -> Facts:
    """What the output folder shows to have run."""
    told, study, flow = outputs.provenance, outputs.study, outputs.flow
    scan, seeds = study.get("scan", {}), study.get("seeds", {})
    is_normalised = told.get("input_form") == "normalised"
    discarded = list(flow["n_discarded"].dropna()) if "n_discarded" in flow else []
    models = [model for model in outputs.models if has_result(model)]
    return Facts(
        program=f"rsfc_gpu {told.get('rsfc_gpu', '')}".strip(),
        device=told.get("device"),
        preprocess=told.get("preprocess") or {},
        discarded=int(max(discarded, default=0)),
        fwhm_mm=float(scan.get("normalised_fwhm_mm" if is_normalised else "fwhm_mm", 0.0)),
        denoise=_settings(outputs),
        gates=_gates(outputs),
        seeds=tuple(str(name).removeprefix("coverage_") for name in flow.columns if str(name).startswith("coverage_")),
        atlas=told.get("atlas") if seeds.get("atlas") else None,
        space=told.get("space"),
        models=tuple(_model_facts(model) for model in models),
        height_p=models[0].get("height_p") if models else None,
        connectivity=models[0].get("connectivity") if models else None,
        q=models[0].get("q") if models else None,
        tests=_tests(outputs),
    )


def _settings(outputs: Outputs) -> Mapping[str, Any]:
    """The settings of the cleaning chain from the sidecar of a map; nothing where no run was mapped."""
    for path in sorted(outputs.folder.glob("sub-*/**/func/*_stat-z_statmap.json")):
        if path.name.split("_seed-")[0] in outputs.former_runs:
            continue
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(sidecar.get("Settings"), dict):
            return dict(sidecar["Settings"])
    return {}


def _gates(outputs: Outputs) -> tuple[str, ...]:
    """The gates of the study in words; only those that images went through."""
    if "n_volumes" not in outputs.flow or outputs.flow["n_volumes"].isna().all():
        return ()
    chosen = outputs.study.get("participants", {})
    words = {
        "maximum_translation_mm": "translation of more than {:g} mm",
        "maximum_rotation_degrees": "rotation of more than {:g} degrees",
    }
    gates = [text.format(chosen[name]) for name, text in words.items() if chosen.get(name) is not None]
    if chosen.get("minimum_seed_coverage"):
        gates.append(f"less than {100 * chosen['minimum_seed_coverage']:g} % of a seed's voxels")
    if chosen.get("every_visit"):
        gates.append("another visit of the participant left out")
    return tuple(gates)


def _model_facts(model: Mapping[str, Any]) -> ModelFacts:
    return ModelFacts(
        name=str(model.get("description") or model["name"]),
        kind=str(model["kind"]),
        n_images=model.get("n_images"),
        covariates=tuple(model.get("covariates", ())),
        absorbed=tuple(model.get("absorbed") or ()),
        covariance=model.get("covariance"),
    )


def _tests(outputs: Outputs) -> frozenset[str]:
    """The kinds of clinical statistics that have results."""
    associations, roc = outputs.table("clinical/associations.tsv"), outputs.table("clinical/roc.tsv")
    cross_validated = [
        table[name].notna().any()
        for table, name in ((associations, "cv_r_mean"), (roc, "cv_auc_mean"))
        if name in table
    ]
    present = {
        "table_one": len(outputs.table("clinical/table_one_tests.tsv")) > 0,
        "association": len(associations) > 0,
        "partial": "covariates" in associations and bool(associations["covariates"].notna().any()),
        "roc": len(roc) > 0,
        "cross_validated": any(cross_validated),
        "post_hoc": len(outputs.table("clinical/post_hoc.tsv")) > 0,
        "qc_fc": len(outputs.table("group/qc_fc.tsv")) > 0,
    }
    return frozenset(name for name, is_present in present.items() if is_present)


def methods_blocks(outputs: Outputs) -> Iterator[Block]:
    """The methods section, and its references."""
    written = methods_text(facts_of(outputs))
    for heading, text in written.paragraphs:
        yield Text(heading, "heading")
        yield Text(text)
    yield Text("References", "heading")
    for number, reference in enumerate(written.references, start=1):
        yield Text(f"{number}. {reference}", "note")


def failure_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Runs that failed, runs that a gate left out, and maps that a model had to drop."""
    failed, excluded = (left_out(outputs.flow, status) for status in ("failed", "excluded"))
    if failed.empty:
        yield Text("No run failed.")
    else:
        yield Text(
            f"{counted(len(failed), 'run')} failed: an error, no choice of the study. Look before using the results.",
            "warning",
        )
        yield exhibits.table("failed", failed, title="Runs that failed.", headings=_headings(failed))
    if len(excluded):
        yield exhibits.table("excluded", excluded, title="Left out by the study's rules.", headings=_headings(excluded))
    for model in outputs.models:
        dropped = list(model.get("dropped") or ())
        if dropped:
            names = "; ".join(
                f"{one.get('participant_id')} {one.get('session_id') or ''} ({one.get('reason')})" for one in dropped
            )
            yield Text(f"Maps not in {model['name']}: {names}.", "note")


def _headings(frame: Any) -> dict[str, str]:
    return {str(name): str(name).replace("_id", "").replace("_", " ").capitalize() for name in frame.columns}


def provenance_blocks(outputs: Outputs) -> Iterator[Block]:
    """Versions, time, terms of the atlas, the exact command and the resolved study."""
    told = outputs.provenance
    versions = [
        f"rsfc_gpu {told.get('rsfc_gpu', '')}",
        f"Python {told.get('python', '')}",
        str(told.get("platform", "")),
    ]
    versions += [f"{name} {version}" for name, version in (told.get("versions") or {}).items()]
    yield Text(f"Versions: {', '.join(part for part in versions if part.strip())}.")
    yield Text(f"Computed on {told.get('backend')}: {told.get('device')}. Random seed {told.get('seed')}.")
    runs, seconds = told.get("runs") or {}, told.get("seconds") or {}
    if runs:
        yield Text("Runs: " + ", ".join(f"{count} {name}" for name, count in runs.items()) + ".")
    if seconds:
        yield Text("Time: " + ", ".join(f"{stage} {float(s):.1f} s" for stage, s in seconds.items()) + ".")
    if told.get("atlas_terms"):
        yield Text(f"Terms of the atlas ({told.get('atlas')}): {told['atlas_terms']}", "note")
    yield Text("Command", "heading")
    yield Code(_command(told.get("command")))
    toml = outputs.folder / "study.toml"
    if toml.is_file():
        yield Text(f"Study file, resolved (hash {told.get('study_hash', 'not recorded')})", "heading")
        yield Code(toml.read_text(encoding="utf-8"))


def _command(command: object) -> str:
    if isinstance(command, list):
        import shlex

        return shlex.join(str(part) for part in command)
    return str(command or "not recorded")
