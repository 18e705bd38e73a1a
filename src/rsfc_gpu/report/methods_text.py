"""The methods section of a study, written from what ran: a sentence stands here only where its step was done."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from rsfc_gpu.report.preprocessing_text import Cite, raw_run_sentences

_TISSUES = {"white_matter": "white matter", "csf": "cerebrospinal fluid", "global": "the whole brain (global signal)"}
_POLYNOMIAL = {0: "a constant", 1: "a linear trend", 2: "a linear and a quadratic trend"}
_KINDS = {
    "two_sample": "a two-sample comparison",
    "flexible_factorial": "a flexible factorial model (subject, group by time)",
    "one_sample": "a one-sample model",
    "paired": "a paired comparison",
    "regression": "a regression",
}
_VARIANCES = {
    "unequal": "the unequal variances of the groups were",
    "spm": "the unequal variances of the groups and the dependence of a participant's maps were",
}


@dataclass(frozen=True)
class ModelFacts:
    """A group model that ran: its name in words, kind, number of images, covariates, those of them that the subject
    terms absorb, and how variances were modelled."""

    name: str
    kind: str
    n_images: int | None = None
    covariates: tuple[str, ...] = ()
    absorbed: tuple[str, ...] = ()
    covariance: str | None = None


@dataclass(frozen=True)
class Facts:
    """What ran. Whatever is None, empty or False is not spoken of.

    Attributes
    ----------
    program : name and version; device : what it computed on.
    preprocess : the settings of the preprocessing, where runs were raw.
    denoise : the settings of the cleaning chain, as the sidecars of the maps hold them.
    gates : words for each reason by which runs were excluded, such as "translation over 2 mm".
    seeds, atlas : names, and the title of the atlas they come from; space : of the images.
    height_p, q : thresholds of the cluster inference, connectivity its neighbourhood.
    tests : kinds of clinical statistics in the output: "table_one", "association", "partial", "roc", "post_hoc",
        "cross_validated", "qc_fc".
    """

    program: str
    device: str | None = None
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    discarded: int = 0
    fwhm_mm: float = 0.0
    denoise: Mapping[str, Any] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    seeds: tuple[str, ...] = ()
    atlas: str | None = None
    space: str | None = None
    models: tuple[ModelFacts, ...] = ()
    height_p: float | None = None
    connectivity: int | None = None
    q: float | None = None
    tests: frozenset[str] = frozenset()


@dataclass(frozen=True)
class MethodsText:
    """Paragraphs with a heading each, citing by number; and the references in that order."""

    paragraphs: tuple[tuple[str, str], ...]
    references: tuple[str, ...]


def methods_text(facts: Facts) -> MethodsText:
    """The methods section of what ran, with numbered references."""
    cited: list[str] = []

    def cite(*keys: str) -> str:
        for key in keys:
            if key not in cited:
                cited.append(key)
        return f" [{', '.join(str(cited.index(key) + 1) for key in keys)}]"

    sections = [
        ("Preprocessing", _preprocessing(facts, cite)),
        ("Removal of nuisance signals", _denoising(facts.denoise, cite)),
        ("Exclusion", _exclusion(facts)),
        ("Seed-based connectivity", _connectivity(facts, cite)),
        ("Group analysis", _group(facts, cite)),
        ("Clinical statistics", _clinical(facts, cite)),
        ("Software", _software(facts)),
    ]
    paragraphs = tuple((heading, " ".join(sentences)) for heading, sentences in sections if sentences)
    works = tomllib.loads(resources.files("rsfc_gpu.report").joinpath("references.toml").read_text(encoding="utf-8"))
    return MethodsText(paragraphs, tuple(str(works[key]) for key in cited))


def _preprocessing(facts: Facts, cite: Cite) -> list[str]:
    text = []
    if facts.discarded:
        text.append(f"The first {facts.discarded} volumes of each run were discarded.")
    tissues = tuple(name for name in facts.denoise.get("tissue_signals", ()) if name != "global")
    text += raw_run_sentences(facts.preprocess, tissues, cite)
    if facts.fwhm_mm:
        text.append(f"Images were smoothed with a Gaussian kernel of {facts.fwhm_mm:g} mm full width at half maximum.")
    return text


def _denoising(settings: Mapping[str, Any], cite: Cite) -> list[str]:
    if not settings:
        return []
    columns = [_POLYNOMIAL.get(order := int(settings["polynomial_order"]), f"polynomial trends up to order {order}")]
    motion = str(settings["motion_model"])
    if motion.startswith("friston24"):
        terms = "at each volume and the one before" if motion.endswith("lagged") else "and their derivatives"
        columns.append(f"24 motion regressors (six parameters {terms}, and their squares){cite('friston24')}")
    elif motion == "6":
        columns.append("the six motion parameters")
    tissues = [_TISSUES[str(name)] for name in settings["tissue_signals"]]
    if tissues:
        columns.append(f"the mean signals of {_listed(tissues)}")
    text = ["A linear trend was removed first."] if settings.get("detrend_first") else []
    band = f"{settings['low_hz']:g}-{settings['high_hz']:g} Hz"
    if settings["order"] == "joint":
        kept = " on the volumes kept alone" if settings["scrub"] == "cut" else ""
        text.append(
            f"In one joint projection{kept}, {_listed(columns)} and all frequencies outside {band} were removed from "
            f"each voxel's series{cite('lindquist')}."
        )
    else:
        text.append(f"By linear regression, {_listed(columns)} were removed from each voxel's series.")
        text.append(f"Series were then filtered by an ideal band-pass of {band}{cite('song')}.")
    return text + _scrubbing(settings, cite)


def _scrubbing(settings: Mapping[str, Any], cite: Cite) -> list[str]:
    if settings["scrub"] == "none":
        return []
    before, after = int(settings["scrub_before"]), int(settings["scrub_after"])
    around = f", with {_volumes(before)} before and {_volumes(after)} after each," if before or after else ""
    act = "were deleted" if settings["scrub"] == "cut" else "were each given a regressor of their own"
    name = str(settings["fd_kind"])
    limit = f"{settings['fd_threshold_mm']:g} mm"
    return [f"Volumes with a framewise displacement{cite(name)} above {limit}{around} {act}."]


def _volumes(count: int) -> str:
    return "one volume" if count == 1 else f"{count} volumes"


def _exclusion(facts: Facts) -> list[str]:
    minimum = facts.denoise.get("minimum_dof")
    gates = [*facts.gates, *([f"fewer than {minimum:g} temporal degrees of freedom left"] if minimum else [])]
    return [f"Runs were excluded for: {'; '.join(gates)}."] if gates else []


def _connectivity(facts: Facts, cite: Cite) -> list[str]:
    if not facts.seeds:
        return []
    source = ""
    if facts.atlas:
        juelich = "juelich" in facts.atlas.lower()
        source = f", from the atlas {facts.atlas!r}{cite('amunts', 'eickhoff') if juelich else ''}"
    space = f" Images were in the space {facts.space}." if facts.space else ""
    return [
        f"Seeds were {_listed(facts.seeds)}{source}.{space}",
        "The mean series of each seed was correlated (Pearson) with the series of every voxel, and the coefficients "
        "were brought to Fisher's z.",
    ]


def _group(facts: Facts, cite: Cite) -> list[str]:
    text = []
    for model in facts.models:
        held = f" with {_listed(model.covariates)} as covariates" if model.covariates else ""
        images = f" of {model.n_images} maps" if model.n_images else ""
        estimated = _VARIANCES.get(model.covariance or "")
        variance = f"; {estimated} estimated by restricted maximum likelihood{cite('glaser')}" if estimated else ""
        kind = _KINDS.get(model.kind, model.kind.replace("_", " "))
        text.append(f"{_sentence_case(model.name)}: {kind}{images} for each seed{held}{variance}.")
    absorbed = tuple(dict.fromkeys(name for model in facts.models for name in model.absorbed))
    if absorbed:
        text.append(
            f"Within-participant models cannot tell {_listed(absorbed)}, constant within a participant, from the "
            "participant: the subject terms absorb them."
        )
    if facts.models and facts.height_p is not None:
        neighbours = f" ({facts.connectivity} neighbours)" if facts.connectivity else ""
        limit = f" below {facts.q:g}" if facts.q is not None else ""
        text.append(
            f"Clusters{neighbours} were formed at p < {facts.height_p:g} uncorrected and judged by random field theory"
            f"{cite('worsley', 'friston94')}; clusters with a false discovery rate{limit} within a map were taken as "
            f"significant{cite('chumbley', 'bh')}. Correction is within each map and direction, not over seeds."
        )
        text.append(f"Regions are named after the automated anatomical labeling atlas, version 2{cite('rolls')}.")
    return text


def _clinical(facts: Facts, cite: Cite) -> list[str]:
    sentences: dict[str, Callable[[], str]] = {
        "table_one": lambda: (
            f"Groups were compared by independent t tests (Welch's where Levene's test{cite('levene')} rejected equal "
            "variances) and by chi-square tests (Fisher's exact test where an expected count was below 5)."
        ),
        "association": lambda: (
            "A cluster's mean z was correlated with clinical measures by Pearson's coefficient where Shapiro and "
            f"Wilk's test{cite('shapiro')} rejected normality of neither, else by Spearman's; the false discovery rate "
            f"was computed over all these tests{cite('bh')}."
        ),
        "partial": lambda: "Partial correlations held further measures constant, as stated in each row.",
        "roc": lambda: (
            f"Receiver operating characteristic curves have DeLong's intervals{cite('delong')} and cut-offs of the "
            f"largest Youden index{cite('youden')}."
        ),
        "cross_validated": lambda: (
            f"Figures from clusters that were selected by the outcome itself are circular{cite('kriegeskorte')} and "
            "marked so; beside them stand cross-validated ones, with the cluster found again in the training folds."
        ),
        "post_hoc": lambda: "Changes of a cluster's mean z within groups were tested by paired t tests.",
        "qc_fc": lambda: f"Mean framewise displacement was correlated with z at each voxel{cite('ciric')}.",
    }
    return [write() for name, write in sentences.items() if name in facts.tests]


def _software(facts: Facts) -> list[str]:
    return [f"All steps were done by {facts.program}{f' on {facts.device}' if facts.device else ''}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _sentence_case(text: str) -> str:
    shown = text.replace("_", " ").replace("-", " ")
    return shown[:1].upper() + shown[1:]
