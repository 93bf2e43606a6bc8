"""Procedural brains: a folder of T1-like axial slices of invented people.

The anatomy is a function of (x, y, z) in mm with random parameters for each person: x goes from left to
right, y from back to front, z upwards from the commissures. Distances to surfaces decide the tissue, tissues
the skull-stripped T1 signal, and a simulated scanner adds a bias field, noise and blur. From NonDemented to
ModerateDemented the ventricles grow, the cortex thins and the sulci open.
"""

import os
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alzgan.device.streams import stream
from alzgan.errors import UserError
from alzgan.files import read_json, replacing, scratch, write_json, write_table
from alzgan.people.splits import MANIFEST_COLUMNS

# Share of the people in each class, as in the Kaggle 4-class set, from healthy to most affected.
CLASS_SHARES = {"NonDemented": 0.50, "VeryMildDemented": 0.35, "MildDemented": 0.14, "ModerateDemented": 0.01}
LEAST_PEOPLE = 3  # in each class: one each for training, validation and test
FIELD_OF_VIEW = 184.0  # mm; 45-50 % of the pixels are outside the brain, as in the Kaggle set
MIDDLE_HEIGHT = 13.0  # mm above the commissures: thalami in the lowest slices, ventricle roofs in the highest
PHANTOM_VERSION = 1  # raised whenever the same settings give other pixels

# T1 signal; 1 is white.
CSF, CORTEX, STRIATUM, THALAMUS, PALLIDUM, WHITE = 0.10, 0.47, 0.62, 0.72, 0.78, 0.92

# The lateral ventricle from its frontal to its occipital horn: x, y, z and radius in mm.
LATERAL_VENTRICLE = (
    (15, 34, 11, 2.2),
    (8, 26, 12, 4.0),
    (5, 11, 16, 3.8),
    (6, -8, 20, 3.8),
    (12, -26, 19, 4.8),
    (21, -38, 13, 4.8),
    (24, -51, 8, 2.2),
)


class Waves:
    """A smooth random function of space with mean 0 and variance 1: a sum of plane waves.

    The waves have one length in mm and random directions; their z components are multiplied by `rise`.
    """

    def __init__(self, rng: np.random.Generator, wavelength: float, count: int, rise: float = 1.0):
        vectors = rng.standard_normal((count, 3))
        vectors *= 2 * np.pi / wavelength / np.linalg.norm(vectors, axis=1, keepdims=True) * (1, 1, rise)
        self.vectors = vectors.astype(np.float32)  # (count, 3), radians per mm
        self.phases = rng.uniform(0, 2 * np.pi, (count, 1)).astype(np.float32)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Values (H, W) at the positions (3, H, W), in mm."""
        angles = self.vectors @ points.reshape(3, -1) + self.phases
        total = np.cos(angles, out=angles).sum(axis=0)
        return total.reshape(points.shape[1:]) * (2 / len(self.phases)) ** 0.5


class Brain:
    """A random person's anatomy, in mm; severity goes from 0 (NonDemented) to 1 (ModerateDemented)."""

    def __init__(self, rng: np.random.Generator, severity: float):
        self.half_width = rng.uniform(63, 69)
        self.half_length = rng.uniform(81, 87)
        self.taper = rng.uniform(0.05, 0.13)  # how much narrower the front is
        self.squareness = rng.uniform(2.1, 2.35)  # exponent of the outline: 2 is an ellipse
        self.ventricle_size = rng.uniform(0.8, 1.15) + 0.9 * severity  # 1 is healthy
        self.ventricle_splay = rng.uniform(0.85, 1.15)  # how far the horns point outwards
        self.ventricle_height = rng.uniform(-3, 3)
        self.cortex = rng.uniform(3.4, 3.7) - 1.2 * severity  # thickness
        # Half the width of the fluid in a sulcus; below 0 the banks touch.
        self.sulcus_opening = rng.uniform(0.0, 0.4) + 0.9 * severity
        self.sulcus_depth = rng.uniform(19, 24)
        # The right side has the folds that the left side has this much higher.
        self.asymmetry = rng.uniform(5, 9)
        self.warp = [Waves(rng, 110, 4) for _ in range(3)]
        self.folds = Waves(rng, 20, 16, rise=0.48)  # zero along the middle of each sulcus
        self.relief = Waves(rng, 32, 8, rise=0.55)  # some sulci are deep, some shallow


def slice_points(brain: Brain, z: float, size: int) -> np.ndarray:
    """Positions (3, size, size) in mm of an axial slice in the person's slightly warped space."""
    across = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * FIELD_OF_VIEW
    x, y = np.meshgrid(across, -across)
    points = np.stack([x, y, np.full_like(x, z)])
    return points + 1.8 * np.stack([wave(points) for wave in brain.warp])


def mirrored(points: np.ndarray) -> np.ndarray:
    """Fold both hemispheres onto the one with x >= 0."""
    x, y, z = points
    return np.stack([np.abs(x), y, z])


def hull_depth(brain: Brain, points: np.ndarray) -> np.ndarray:
    """Depth in mm under the smooth hull of the brain; negative outside."""
    x, y, z = points
    shrink = np.sqrt(np.clip(1 - ((z - 12) / 72) ** 2, 0.1, 1))
    width = brain.half_width * (1 - brain.taper * y / brain.half_length)
    power = brain.squareness
    reach = (np.abs(x / width) ** power + np.abs(y / brain.half_length) ** power) ** (1 / power) / shrink
    radius = np.hypot(x, y)
    return radius / np.maximum(reach, 1e-3) - radius


def cone_distance(points: np.ndarray, *ends: tuple[float, ...]) -> np.ndarray:
    """Distance in mm to a round-ended cone between two (x, y, z, radius); negative inside."""
    start, end = (np.array(node, dtype=np.float32)[:, None, None] for node in ends)
    axis = (end - start)[:3]
    offset = points - start[:3]
    along = np.clip((offset * axis).sum(0) / (axis**2).sum(), 0, 1)
    return np.sqrt(((offset - along * axis) ** 2).sum(0)) - (start[3] + along * (end[3] - start[3]))


def ellipsoid_distance(points: np.ndarray, centre: tuple, radii: tuple, tilt: float = 0.0) -> np.ndarray:
    """Distance in mm, true near the surface, to an ellipsoid turned by `tilt` radians; negative inside."""
    x, y, z = (p - c for p, c in zip(points, centre, strict=True))
    cos, sin = float(np.cos(tilt)), float(np.sin(tilt))
    x, y = cos * x + sin * y, cos * y - sin * x
    return (np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2) - 1) * min(radii)


def ventricle_distance(brain: Brain, points: np.ndarray) -> np.ndarray:
    """Distance in mm to the lateral and the third ventricles; negative inside."""
    halve_z = np.array([1, 1, 0.5], np.float32)[:, None, None]  # ventricles are taller than wide
    height = np.array([0, 0, brain.ventricle_height], np.float32)[:, None, None]
    squeezed = (mirrored(points) - height) * halve_z
    nodes = [
        (x * brain.ventricle_splay, y, z / 2, r * brain.ventricle_size) for x, y, z, r in LATERAL_VENTRICLE
    ]
    lateral = np.minimum.reduce([cone_distance(squeezed, a, b) for a, b in pairwise(nodes)])
    septum = 0.8 - np.abs(points[0])
    third = ellipsoid_distance(points, (0, -10, 0), (1.3 * brain.ventricle_size, 12, 12))
    return np.minimum(np.maximum(lateral, septum), third)


def fissure_distance(points: np.ndarray) -> np.ndarray:
    """Distance in mm to the fissure between the hemispheres, which the corpus callosum interrupts."""
    x, y, z = points
    arch = 38 * np.sqrt(np.clip(1 - ((z - 4) / 30) ** 2, 0, 1))
    return np.hypot(x, np.maximum(arch - np.abs(y + 3), 0))


def sylvian_distance(points: np.ndarray, ripple: np.ndarray) -> np.ndarray:
    """Distance in mm to the Sylvian fissure: inwards from the side, then along the insula; fades upwards."""
    x, y, z = mirrored(points)
    insula = np.hypot(x + (y - 3) ** 2 / 80 - 42 + ripple, np.maximum(np.abs(y - 3) - 17, 0))
    cleft = np.hypot(y - 2 - 0.12 * (x - 42) - ripple, np.maximum(42 - x, 0))
    return np.hypot(np.minimum(insula, cleft), 0.8 * np.maximum(z - 13, 0)) - 0.4


def sulcus_distance(
    brain: Brain, points: np.ndarray, depth: np.ndarray, ventricles: np.ndarray
) -> np.ndarray:
    """Distance in mm to the fluid of the nearest sulcus or fissure; negative inside.

    Sulci are the zero lines of a random field, which is stretched inwards so that they do not run along the
    surface. Each ends at its own depth.
    """
    x, y, z = mirrored(points)
    z = z + brain.asymmetry * (points[0] > 0).astype(np.float32)
    relief = brain.relief(np.stack([x, y, z]))
    stretch = 1 + 0.35 * np.clip(depth, 0, 25) / np.maximum(np.hypot(x, y), 30)
    field = brain.folds(np.stack([x * stretch, y * stretch, z + 4 * relief]))  # relief makes folds differ
    slope = np.hypot(*np.gradient(field)) * (points.shape[-1] / FIELD_OF_VIEW)
    fissure = fissure_distance(points)
    below = np.minimum(depth, 2 * fissure)  # sulci of the medial wall are half as deep
    beyond_floor = np.maximum(below - brain.sulcus_depth * (1 + 0.35 * np.minimum(relief, 1)), 0)
    folds = np.hypot(np.abs(field) / np.hypot(slope, 0.14), beyond_floor)
    folds = np.maximum(folds, 8 - ventricles)  # white matter around the ventricles
    open_wide = brain.sulcus_opening * np.clip(1.4 - below / 25, 0, 1.4)  # widest at the surface
    deep = np.minimum(fissure - 0.4, sylvian_distance(points, 1.2 * field)) - brain.sulcus_opening
    return np.minimum(folds - open_wide, deep)


def draw_slice(brain: Brain, z: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The noiseless T1 signal in [0, 1] and the brain mask, both (size, size), at height z in mm."""
    points = slice_points(brain, z, size)
    side = mirrored(points)
    depth = hull_depth(brain, points)
    ventricles = ventricle_distance(brain, points)
    sulci = sulcus_distance(brain, points, depth, ventricles)
    layers = (  # later layers cover earlier ones
        (ellipsoid_distance(side, (20, 2, 0), (5, 11, 9), 0.25), PALLIDUM),
        (ellipsoid_distance(side, (27, 4, 4), (4.5, 17, 15), 0.2), STRIATUM),
        (ellipsoid_distance(side, (11, -13, 5), (9, 15, 11), 0.35), THALAMUS),
        (ellipsoid_distance(side, (15, 17, 8), (6, 11, 14), -0.3), STRIATUM),
        (np.minimum(depth, sulci) - brain.cortex, CORTEX),
        (sulci, CSF),
        (ventricles, CSF),
    )
    signal = np.full_like(depth, WHITE)
    edge = 1.2 * FIELD_OF_VIEW / size  # voxels at a border contain both tissues
    for distance, value in layers:
        signal += np.clip(0.5 - distance / edge, 0, 1) * (value - signal)
    return signal, (depth > 0) & ((sulci > 0) | (depth > 3))  # skull stripping removes the surface's fluid


def acquire(rng: np.random.Generator, signals: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Scan one person: signals and masks to uint8 images, all (slices, H, W), 0 only outside the masks.

    Each scan has a random smooth bias field, a contrast, a brightness that drifts from slice to slice, Rician
    noise (Gudbjartsson & Patz 1995) and a slight blur.
    """
    y, x = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in signals.shape[1:]], indexing="ij")
    weights = rng.uniform(-0.08, 0.08, 5).astype(np.float32)
    bias = 1 + np.tensordot(weights, np.stack([x, y, x * y, x * x, y * y]), axes=1)
    gains = rng.uniform(0.88, 1.08) * rng.uniform(0.94, 1.06, (len(signals), 1, 1)).astype(np.float32)
    contrast, noise = rng.uniform(0.85, 1.2), rng.uniform(0.03, 0.06)
    real, imaginary = noise * rng.standard_normal((2, *signals.shape), dtype=np.float32)
    images = np.hypot(gains * bias * signals**contrast + real, imaginary)
    for axis in (1, 2):
        images = np.roll(images, 1, axis) / 6 + images / 1.5 + np.roll(images, -1, axis) / 6
    return np.where(masks, np.clip(np.rint(255 * images), 1, 255), 0).astype(np.uint8)


@dataclass(frozen=True)
class Settings:
    """The settings of a phantom, kept in its `phantom.json`.

    They decide every byte on one kind of processor. Between AVX2 and AVX-512, one pixel of 17 million
    differed by one grey level.

    Args:
        people: at least 12, since each class has at least 3.
        slices: of each person.
        size: side of a slice in pixels.
        spacing: of slices, in mm; the model covers 48 mm, and below about 5 mm neighbouring slices are more
            alike than two people's.
        seed: of everything random.
        version: of the code that drew it.
    """

    people: int = 64
    slices: int = 16
    size: int = 128
    spacing: float = 1.25
    seed: int = 0
    version: int = PHANTOM_VERSION

    def grades(self) -> np.ndarray:
        """The class of each person (people,) as an index of `CLASS_SHARES`, in random order."""
        spare = self.people - LEAST_PEOPLE * len(CLASS_SHARES)
        counts = [LEAST_PEOPLE + int(share * spare) for share in CLASS_SHARES.values()]
        counts[0] += self.people - sum(counts)
        grades = np.repeat(np.arange(len(counts)), counts)
        return stream(self.seed, "phantom classes").permutation(grades)


def person_images(settings: Settings, person: int, grade: int) -> np.ndarray:
    """All slices of one person, uint8 (slices, size, size)."""
    rng = stream(settings.seed, "phantom person", person)
    severity = (grade + rng.uniform(-0.3, 0.3)) / (len(CLASS_SHARES) - 1)
    brain = Brain(rng, severity)
    offsets = (i - (settings.slices - 1) / 2 for i in range(settings.slices))
    drawn = [draw_slice(brain, MIDDLE_HEIGHT + i * settings.spacing, settings.size) for i in offsets]
    signals, masks = zip(*drawn, strict=True)
    return acquire(rng, np.stack(signals), np.stack(masks))


def fill(folder: Path, settings: Settings) -> None:
    """Write the images, the manifest and the settings into an empty folder."""
    rows = []
    for label in CLASS_SHARES:
        (folder / label).mkdir()
    for person, grade in enumerate(settings.grades()):
        label, subject = list(CLASS_SHARES)[grade], f"sub-{person + 1:03d}"
        for number, image in enumerate(person_images(settings, person, grade), start=1):
            file = f"{label}/{subject}_slice-{number:02d}.png"
            Image.fromarray(image).save(folder / file)
            rows.append((file, label, subject, number, ""))
    write_table(folder / "manifest.csv", MANIFEST_COLUMNS, sorted(rows))
    write_json(folder / "phantom.json", asdict(settings))


def is_already_there(root: Path, settings: Settings) -> bool:
    """Whether `root` has this phantom; not if it is free, or another version drew its phantom.

    Raises:
        UserError: it has anything else.
    """
    if is_free(root):
        return False
    found = read_json(root / "phantom.json")
    if not isinstance(found, dict):
        raise UserError(f"{root} exists and is not a phantom; give the phantom a folder of its own")
    if {**found, "version": PHANTOM_VERSION} != asdict(settings):
        raise UserError(f"{root} holds a phantom of other settings; delete it or choose another folder")
    if sum(1 for _ in root.glob("*/*.png")) != settings.people * settings.slices:
        raise UserError(f"{root} holds a phantom with images missing or added; delete it to draw it again")
    return found.get("version") == PHANTOM_VERSION


def is_free(root: Path) -> bool:
    return not root.exists() or (root.is_dir() and not any(root.iterdir()))


def write_phantom(root: Path, **chosen: Any) -> None:
    """Write a phantom in four class folders, unless `root` already has it.

    Files are `CLASS/sub-012_slice-07.png`, 8-bit grey; `manifest.csv` lists them, without a split. Slices are
    axial, numbered from the bottom up, with the front of the brain at the top. The folder appears whole or
    not at all, even if two processes write it at once; a killed process leaves a `.part` folder beside it. A
    phantom with the same settings that another version of alzgan drew is replaced.

    Args:
        root: the folder.
        **chosen: see `Settings`.

    Raises:
        UserError: `root` has anything else or cannot be written.
    """
    root = Path(os.path.realpath(root))
    settings = Settings(**chosen)
    if is_already_there(root, settings):
        return
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with replacing(root) as part:
            part.mkdir()
            fill(part, settings)
            if not is_free(root) and not is_already_there(root, settings):
                with scratch(root) as older:
                    os.replace(root, older)
    except OSError as error:
        if not is_already_there(root, settings):  # another process has not written it
            raise UserError(
                f"cannot write a phantom to {root}: {error.strerror or error}; choose another folder"
            ) from error
