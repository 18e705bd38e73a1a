"""A whole cohort: who is scanned, and how strong each planted connection is in each scan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate.anatomy import F32, Anatomy, build_anatomy
from rsfc_gpu.simulate.background import fill_background
from rsfc_gpu.simulate.bold import TR_S, SimulatedRun, fluctuation, observed_sd, simulate_run
from rsfc_gpu.simulate.effects import Level, planted_association, planted_effects
from rsfc_gpu.simulate.head import Head
from rsfc_gpu.simulate.motion import simulate_motion
from rsfc_gpu.simulate.participants import CONTROL, RESPONDER, People, draw_people
from rsfc_gpu.simulate.raw import N_DUMMIES, RawRun, scan_head

Stage = Literal["preprocessed", "raw"]
BLOB_FWHM_MM = 20.0
REPOSITIONED_MM, REPOSITIONED_DEGREES = 4.0, 3.0  # a head between two sessions
SESSIONS = ("ses-baseline", "ses-day13")


@dataclass(frozen=True, kw_only=True)
class CohortSettings:
    """What a simulated cohort looks like.

    Attributes
    ----------
    effects : "clear", "paper" or "none"; see `effects.Effect.d`.
    level : "preprocessed" images in MNI space, or "raw" ones as a scanner gives them.
    grid_mm : voxel edge; 4 gives 46 x 55 x 46 voxels, 3 gives 61 x 73 x 61. Of raw runs, that of the signals inside.
    n_volumes : per run, at 2 s; raw runs have `raw.N_DUMMIES` more in front.
    participants : analysed patients and controls together; None is the study's 39 + 45.
    faults : plant what a study has to notice: motion, a damaged file, a missing covariate, a lost region.
    skull_stripped : preprocessed images hold 0 outside the brain, and take a third of the space; else the scanner's
        noise goes on there, as in images that fMRIPrep or SPM wrote.
    seed : of all random numbers.
    """

    effects: Level = "clear"
    level: Stage = "preprocessed"
    grid_mm: float = 4.0
    n_volumes: int = 110
    participants: int | None = None
    faults: bool = True
    skull_stripped: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.effects not in get_args(Level):
            raise InputError(f"effects = {self.effects!r}: expected one of {', '.join(get_args(Level))}")
        if self.level not in get_args(Stage):
            raise InputError(f"level = {self.level!r}: expected one of {', '.join(get_args(Stage))}")
        if not 2 <= self.grid_mm <= 5:
            raise InputError(f"grid_mm = {self.grid_mm!r}: expected 2 to 5 mm; a seed needs voxels")
        if not 100 <= self.n_volumes <= 2000:
            raise InputError(
                f"n_volumes = {self.n_volumes!r}: expected 100 to 2000; fewer leave too little to correlate"
            )
        if self.skull_stripped and self.level == "raw":
            raise InputError("skull_stripped is for preprocessed images: no scanner strips skulls")
        if self.seed < 0:
            raise InputError(f"seed = {self.seed!r}: must not be negative")


@dataclass(frozen=True)
class Scan:
    """One session of one participant: `row` in the table of people, `session` 0 or 1, its ids and its motion."""

    row: int
    session: int
    participant_id: str
    session_id: str
    mean_fd_mm: float
    excursion_mm: float


@dataclass(frozen=True, eq=False)
class Cohort:
    """A cohort before any image is made.

    Attributes
    ----------
    settings : what it was made from.
    people : participants, their scores.
    scans : in order of participants.
    true_z : (scans, effects) Fisher z planted at the centre of each effect.
    """

    settings: CohortSettings
    people: People
    scans: tuple[Scan, ...]
    true_z: NDArray[np.float64]

    @cached_property
    def anatomy(self) -> Anatomy:
        return build_anatomy(self.settings.grid_mm)

    @cached_property
    def blobs(self) -> tuple[F32, NDArray[np.int64]]:
        """(E, V) profile of each effect, height 1, and the voxel (E,) of its centre."""
        return self.anatomy.blobs([effect.xyz_mm for effect in planted_effects()], BLOB_FWHM_MM)

    def simulate(self, scan: Scan) -> SimulatedRun:
        """The preprocessed run of a scan; it depends on the settings and on the scan, not on what was made before."""
        return simulate_run(
            self.anatomy,
            self._z_maps(scan),
            self._generator(scan),
            n_volumes=self.settings.n_volumes,
            mean_fd_mm=scan.mean_fd_mm,
            excursion_mm=scan.excursion_mm,
        )

    def simulate_raw(self, scan: Scan) -> RawRun:
        """The same of a raw run."""
        rng, n_volumes = self._generator(scan), self.settings.n_volumes
        with one_blas_thread():
            motion = simulate_motion(
                rng, N_DUMMIES + n_volumes, mean_fd_mm=scan.mean_fd_mm, excursion_mm=scan.excursion_mm
            )
            series = fluctuation(self.anatomy, self._z_maps(scan), rng, n_volumes=n_volumes, n_before=N_DUMMIES)
        motion -= motion[N_DUMMIES]
        return scan_head(self.head(scan), series, self.anatomy.brain, motion, rng, tr_s=TR_S)

    def fill_background(self, scan: Scan, volumes: NDArray[np.int16]) -> None:
        """Write what the preprocessed run of a scan holds outside the brain to `volumes` (T, X, Y, Z)."""
        rng = np.random.default_rng([self.settings.seed, 1 + scan.row, scan.session, 1])
        fill_background(volumes, self.anatomy.brain, rng)

    def head(self, scan: Scan) -> Head:
        """The participant's head, as it lies in the scanner in this session."""
        head = Head.draw(np.random.default_rng([self.settings.seed, 1 + scan.row, len(SESSIONS)]))
        rng = np.random.default_rng([self.settings.seed, 1 + scan.row, len(SESSIONS) + 1 + scan.session])
        largest = np.repeat([REPOSITIONED_MM, np.radians(REPOSITIONED_DEGREES)], 3)
        return head.moved(rng.uniform(-largest, largest))

    def _z_maps(self, scan: Scan) -> F32:
        """(S, V) planted Fisher z."""
        z_maps = np.zeros((len(self.anatomy.seeds), len(self.anatomy.brain)), dtype=np.float32)
        z = self.true_z[self.scans.index(scan)]
        for effect, blob, size in zip(planted_effects(), self.blobs[0], z, strict=True):
            z_maps[self.anatomy.seeds.names.index(effect.seed)] += np.float32(size) * blob
        return z_maps

    def _generator(self, scan: Scan) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, 1 + scan.row, scan.session])


def plan_cohort(settings: CohortSettings) -> Cohort:
    """The cohort of `settings`: people, scans and true connectivity; no image yet.

    Raises
    ------
    InputError : fewer than 12 participants.
    """
    rng = np.random.default_rng([settings.seed, 0, 0])
    people = draw_people(rng, settings.participants, settings.faults)
    number = {CONTROL: 0, "patient": 0}
    ids = []
    for response in people.table["response"]:
        group = CONTROL if response == CONTROL else "patient"
        number[group] += 1
        ids.append(f"sub-{'HC' if group == CONTROL else 'MDD'}{number[group]:03d}")
    people.table.insert(0, "participant_id", ids)
    scans = tuple(_scans(rng, people.table))
    return Cohort(settings, people, scans, _true_z(settings, people, scans))


def _scans(rng: np.random.Generator, table: pd.DataFrame) -> Iterator[Scan]:
    for row in table.index[table["fate"] != "left"]:
        person = table.loc[row]
        sessions = SESSIONS[:1] if person["response"] == CONTROL else SESSIONS
        bad = int(rng.integers(len(sessions)))
        for session, session_id in enumerate(sessions):
            fd_mm = float(person["fd_mm"] * rng.uniform(0.85, 1.15))
            excursion_mm = float(rng.uniform(2.6, 4.0)) if person["fate"] == "moved" and session == bad else 0.0
            yield Scan(int(row), session, str(person["participant_id"]), session_id, fd_mm, excursion_mm)


def _true_z(settings: CohortSettings, people: People, scans: tuple[Scan, ...]) -> NDArray[np.float64]:
    """(scans, effects): group means by the effect size, and the part that goes with the clinical course."""
    sd = observed_sd(settings.n_volumes)
    response = people.table["response"].to_numpy()
    patient = response != CONTROL
    responder = response == RESPONDER
    association = planted_association(settings.effects)
    z = np.zeros((len(people.table), 2, len(planted_effects())))
    for column, effect in enumerate(planted_effects()):
        d = effect.d(settings.effects)
        if effect.kind == "patients-controls":
            within = sd
            if association is not None and association.effect == effect.name:
                part = _clinical_part(people, association.day13, association.day19, association.medication)
                explained = float(part[analysed_patients(people)].var())
                patients_sd = sd / math.sqrt(1 - explained)
                z[patient, :, column] += patients_sd * part[patient, None]
                share = analysed_patients(people).sum() / (people.table["fate"] == "analysed").sum()
                within = math.sqrt(share * patients_sd**2 + (1 - share) * sd**2)
            z[patient, :, column] += d * within
        elif effect.kind == "responders-nonresponders":
            z[responder, :, column] = d * sd / 2
            z[patient & ~responder, :, column] = -d * sd / 2
        elif effect.kind == "time":
            z[patient, 1, column] = d * sd * math.sqrt(2)
        else:
            z[responder, 1, column] = d * sd * math.sqrt(2) / 2
            z[patient & ~responder, 1, column] = -d * sd * math.sqrt(2) / 2
    return np.array([z[scan.row, scan.session] for scan in scans])


def analysed_patients(people: People) -> NDArray[np.bool_]:
    """(n,) the patients that are analysed."""
    return np.asarray((people.table["fate"] == "analysed") & (people.table["response"] != CONTROL))


def _clinical_part(people: People, day13: float, day19: float, medication: float) -> NDArray[np.float64]:
    """(n,) the part of connectivity, in SDs of it, that follows reduction and medication load; 0 for everybody else.

    Weights are such that its correlation with the three, noise added, is the one asked for in the analysed patients.
    """
    at = np.flatnonzero(analysed_patients(people))
    known = np.column_stack([people.reduction[at], people.table["medication_load"].to_numpy(dtype=float)[at]])
    known = (known - known.mean(axis=0)) / known.std(axis=0)
    weights = np.linalg.lstsq(known.T @ known / len(at), np.array([day13, day19, medication]), rcond=None)[0]
    part = np.zeros(len(people.table))
    part[at] = known @ weights
    return part
