"""NIfTI volumes become the same upright slices, whatever order and scale their files store."""

import csv
import gzip
import itertools
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alzgan.errors import UserError
from alzgan.images import decoding
from alzgan.images.folder import scan
from alzgan.people.subjects import identify
from alzgan.sources import scans
from alzgan.sources.bad_volume import BadVolume
from alzgan.sources.dicom import is_dicom, series_among
from alzgan.sources.scans import load_volume
from alzgan.sources.volumes import Choice, Sliced, find_volumes, write_slices
from alzgan.text import shell_override

nibabel = pytest.importorskip("nibabel")

NIFTI_ROOT = os.environ.get("ALZGAN_NIFTI_ROOT")
ORIENTATIONS = [
    "".join(signs)
    for axes in itertools.permutations(["RL", "AP", "SI"])
    for signs in itertools.product(*axes)
]
# One marker on each side of a head of 50: pixels of 255, 200 and 150 once the window is 50..305.
RIGHT, FRONT, TOP = 305, 250, 200


def head() -> np.ndarray:
    """(11, 13, 9) voxels in the canonical frame: a grey block in black with three markers."""
    voxels = np.zeros((11, 13, 9), np.float32)
    voxels[2:9, 2:11, 2:7] = 50
    voxels[8, 6, 4] = RIGHT
    voxels[5, 10, 4] = FRONT
    voxels[5, 6, 6] = TOP
    return voxels


def save(path: Path, voxels: np.ndarray, spacing=(1, 1, 1), orientation="RAS", slope=None) -> Path:
    """Store canonical voxels in another order, with the affine that says so."""
    image = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0]))
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(orientation)
    )
    image = image.as_reoriented(turn)
    image.header.set_slope_inter(slope)
    nibabel.save(image, path)
    return path


def slices(path: Path, **choice) -> np.ndarray:
    """The slices (K, H, W) of a file, or of a folder of one DICOM series."""
    chosen, series, odd = Choice(**choice), None, []
    if path.is_dir():
        (series,), odd = series_among(sorted(filter(is_dicom, path.iterdir())))
    volume = load_volume(path, series, chosen.orientation)
    for error in (*odd, *volume.odd):
        raise error
    return chosen.cut(volume)[1]


def noise(shape=(12, 12, 12)) -> np.ndarray:
    voxels = np.random.default_rng(0).integers(1, 1000, shape).astype(np.float32)
    voxels[0] = voxels[-1] = 0
    return voxels


def peak(image: np.ndarray, value: int) -> list[tuple[int, int]]:
    return [tuple(place) for place in np.argwhere(image == value).tolist()]


@pytest.fixture
def full_window(monkeypatch):
    """Scale from the extremes, so that markers of one voxel are not clipped."""
    monkeypatch.setattr(decoding, "PERCENTILES", (0, 100))


@pytest.mark.usefixtures("full_window")
def test_each_plane_is_right_side_up_with_the_left_on_the_left(tmp_path):
    path = save(tmp_path / "head.nii", head())
    axial, coronal, sagittal = (slices(path, plane=plane) for plane in ("axial", "coronal", "sagittal"))
    assert axial.shape == (9, 13, 11)
    assert coronal.shape == (13, 9, 11)
    assert sagittal.shape == (11, 9, 13)
    assert peak(axial[4], 255) == [(6, 8)]  # right of the middle column 5
    assert peak(axial[4], 200) == [(2, 5)]  # above the middle row 6
    assert peak(coronal[6], 255) == [(4, 8)]
    assert peak(coronal[6], 150) == [(2, 5)]
    assert peak(sagittal[5], 200) == [(4, 10)]  # the front is on the right
    assert peak(sagittal[5], 150) == [(2, 6)]


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_48_orders_of_the_same_voxels_give_the_same_slices(tmp_path, plane):
    assert len(set(ORIENTATIONS)) == 48
    expected = slices(save(tmp_path / "head.nii", head(), (1, 2, 3)), plane=plane)
    assert expected.max() > 150
    for orientation in ORIENTATIONS:
        path = save(tmp_path / f"{orientation}.nii", head(), (1, 2, 3), orientation)
        np.testing.assert_array_equal(slices(path, plane=plane), expected, err_msg=orientation)


@pytest.mark.parametrize(
    ("plane", "shape"),
    [("axial", (13 * 2, 11)), ("coronal", (9 * 3, 11)), ("sagittal", (round(9 * 1.5), 13))],
)
def test_pixels_are_square_whatever_the_voxels(tmp_path, plane, shape):
    path = save(tmp_path / "head.nii", head(), (1, 2, 3))
    assert slices(path, plane=plane).shape[1:] == shape


def test_a_ball_of_flat_voxels_looks_round(tmp_path):
    x, y, z = np.meshgrid(*(np.linspace(-20, 20, n) for n in (41, 41, 11)), indexing="ij")
    ball = (np.sqrt(x**2 + y**2 + z**2) < 15) * (10 + x**2)
    image = slices(save(tmp_path / "ball.nii", ball.astype(np.float32), (1, 1, 4)), plane="coronal")[20]
    rows, columns = (np.flatnonzero((image > 0).any(axis=axis)) for axis in (1, 0))
    assert np.ptp(columns) == 28
    assert 26 <= np.ptp(rows) <= 32


def test_the_window_is_the_robust_range_of_the_foreground(tmp_path):
    voxels = np.zeros((30, 30, 30), np.float32)
    voxels[5:25, 5:25, 5:25] = np.linspace(100, 300, 8000).reshape(20, 20, 20)
    voxels[10, 10, 10] = 1e6  # one hot voxel must not darken the rest
    image = slices(save(tmp_path / "scan.nii", voxels))
    low, high = 101, 299  # 0.5 % of the range from either end, give or take the hot voxel
    expected = np.clip((voxels - low) / (high - low) * 255, 0, 255)
    np.testing.assert_allclose(image, expected.transpose(2, 1, 0)[:, ::-1], atol=1.0)
    assert (image[voxels.transpose(2, 1, 0)[:, ::-1] == 0] == 0).all()


def test_a_background_inside_the_range_of_the_brain_is_black(tmp_path):
    voxels = np.zeros((20, 20, 20), np.float32)
    voxels[4:16, 4:16, 4:16] = np.random.default_rng(0).standard_normal((12, 12, 12))  # z-scores
    image = slices(save(tmp_path / "scan.nii", voxels), central=1)[0]
    assert image[0, 0] == 0
    assert 110 < np.median(image[4:16, 4:16]) < 145


def test_the_window_belongs_to_the_volume_not_to_the_slice(tmp_path):
    voxels = noise()
    voxels[:, :, 3] *= 0.1
    image = slices(save(tmp_path / "scan.nii", voxels))
    assert image[3].max() < 30 < 200 < image[4].max()


def test_slope_and_intercept_are_honoured(tmp_path):
    voxels = noise().astype(np.int16)
    plain = slices(save(tmp_path / "plain.nii", voxels))
    header = nibabel.load(tmp_path / "plain.nii").header
    stored = nibabel.Nifti1Image(1000 - voxels, np.eye(4), header)
    stored.header.set_slope_inter(-2, 2000)
    nibabel.save(stored, tmp_path / "scaled.nii")
    raw = bytearray((tmp_path / "scaled.nii").read_bytes())
    raw[352:] = (1000 - voxels).tobytes(order="F")  # nibabel.save divides by the slope; store as is
    (tmp_path / "scaled.nii").write_bytes(raw)
    np.testing.assert_array_equal(slices(tmp_path / "scaled.nii"), plain)


def test_nan_and_infinity_become_black_and_do_not_widen_the_window(tmp_path):
    voxels = noise()
    clean = slices(save(tmp_path / "clean.nii", voxels), plane="axial")
    voxels[5, 5, 5], voxels[5, 5, 6], voxels[5, 5, 7] = np.nan, np.inf, -np.inf
    image = slices(save(tmp_path / "odd.nii", voxels), plane="axial")
    assert image[5:8, 6, 5].tolist() == [0, 0, 0]
    image[5:8, 6, 5] = clean[5:8, 6, 5]
    np.testing.assert_allclose(image, clean, atol=1)


def test_a_fourth_dimension_of_one_is_dropped(tmp_path):
    expected = slices(save(tmp_path / "3d.nii", noise()))
    nibabel.save(nibabel.Nifti1Image(noise()[..., None], np.eye(4)), tmp_path / "4d.nii")
    np.testing.assert_array_equal(slices(tmp_path / "4d.nii"), expected)


def test_between_and_central_choose_neighbouring_slices(tmp_path):
    path = save(tmp_path / "scan.nii", noise((12, 12, 20)))
    every = slices(path)
    np.testing.assert_array_equal(slices(path, between=(0.25, 0.5)), every[5:10])
    np.testing.assert_array_equal(slices(path, central=4), every[8:12])
    np.testing.assert_array_equal(slices(path, between=(0.5, 1.0), central=2), every[14:16])


def as_analyze(path: Path, voxels: np.ndarray, spacing=(1, 1, 1)) -> Path:
    """An Analyze 7.5 pair, which cannot store an orientation; returns its header."""
    image = nibabel.AnalyzeImage(voxels, np.diag([*spacing, 1.0]))
    image.to_filename(path)
    # What SPM would keep beside it: here it is no MATLAB file, and must not be opened as one.
    path.with_suffix(".mat").write_bytes(b"no MATLAB file")
    return path.with_suffix(".hdr")


def in_other_format(path: Path, suffix: str) -> Path:
    """A NIfTI file again, as a pair or as FreeSurfer has it."""
    image = nibabel.load(path)
    kind = nibabel.MGHImage if suffix.startswith(".mg") else nibabel.Nifti1Pair
    kind(image.get_fdata(dtype=np.float32), image.affine).to_filename(path.with_suffix(suffix))
    return path.with_suffix(suffix)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh", ".hdr"])
@pytest.mark.parametrize("orientation", ["RAS", "LIA", "PSR"])
def test_other_formats_give_the_slices_of_nifti(tmp_path, suffix, orientation):
    path = save(tmp_path / "head.nii", head(), (1, 2, 3), orientation)
    expected = slices(path, plane="sagittal")
    assert expected.max() > 150
    np.testing.assert_array_equal(slices(in_other_format(path, suffix), plane="sagittal"), expected)


@pytest.mark.parametrize("orientation", ["RAS", "LAS", "ASL", "PSR", "IPL"])
def test_an_orientation_can_be_assumed_where_none_is_given(tmp_path, orientation):
    path = save(tmp_path / "head.nii", head(), (1, 2, 3), orientation)
    stored = nibabel.load(path)
    expected = slices(path, plane="coronal")
    bare = as_analyze(tmp_path / "bare.img", stored.get_fdata(dtype=np.float32), stored.header.get_zooms())
    with pytest.raises(BadVolume, match=r"no orientation; if you know it, set volumes.orientation"):
        slices(bare, plane="coronal")
    np.testing.assert_array_equal(slices(bare, plane="coronal", orientation=orientation), expected)


def test_an_orientation_that_is_given_is_not_assumed_away(tmp_path):
    path = save(tmp_path / "head.nii", head(), orientation="LPI")
    np.testing.assert_array_equal(slices(path, orientation="RAS"), slices(path))


def test_a_damaged_mgz_is_named(tmp_path):
    path = in_other_format(save(tmp_path / "head.nii", noise()), ".mgz")
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(BadVolume, match="damaged or not a scan"):
        slices(path)


def edited(path: Path, offset: int, content: bytes) -> Path:
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(content)] = content
    path.write_bytes(raw)
    return path


def broken(folder: Path, kind: str) -> Path:
    """A file that is no usable scan."""
    path = save(folder / "scan.nii", noise())
    zipped = save(folder / "scan.nii.gz", noise())
    content = zipped.read_bytes()
    affine = np.eye(4)
    match kind:
        case "no bytes":
            path.write_bytes(b"")
        case "no NIfTI":
            path.write_bytes(b"not a scan\n" * 100)
        case "short":
            path.write_bytes(path.read_bytes()[:-10])
        case "short gz":
            path = zipped
            path.write_bytes(content[: len(content) // 2])
        case "gz without its end":
            path = zipped
            path.write_bytes(content[:-6])
        case "gz with a wrong checksum":
            path = edited(zipped, len(content) - 8, b"\0\0\0\0")
        case "no gz":
            path = zipped
            path.write_bytes(save(folder / "other.nii", noise()).read_bytes())
        case "four-dimensional":
            nibabel.save(nibabel.Nifti1Image(np.stack([noise()] * 2, axis=-1), affine), path)
        case "two-dimensional":
            nibabel.save(nibabel.Nifti1Image(noise()[:, :, 0], affine), path)
        case "complex":
            nibabel.save(nibabel.Nifti1Image(noise().astype(np.complex64), affine), path)
        case "no orientation":
            nibabel.save(nibabel.Nifti1Image(noise(), None), path)
        case "flat affine":
            edited(path, 296, np.zeros(4, "<f4").tobytes())
        case "giant":
            edited(path, 42, np.array([30000, 30000, 30000], "<i2").tobytes())
        case "needle voxels":
            save(path, noise(), (1, 1, 1000))
        case "empty":
            save(path, np.zeros((5, 5, 5), np.float32))
        case "constant":
            save(path, np.full((5, 5, 5), 7, np.float32))
        case "mask":
            save(path, (noise() > 500).astype(np.uint8))
        case "not a number":
            save(path, np.full((5, 5, 5), np.nan, np.float32))
    return path


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        *[(kind, "damaged or not a scan") for kind in ("no bytes", "no NIfTI", "short", "short gz")],
        *[(f"gz {kind}", "damaged or not a scan") for kind in ("without its end", "with a wrong checksum")],
        ("no gz", "damaged or not a scan"),
        ("four-dimensional", r"shape \(12, 12, 12, 2\)"),
        ("two-dimensional", r"shape \(12, 12\)"),
        ("complex", "complex64"),
        ("no orientation", "it stores no orientation; if you know it, set volumes.orientation"),
        ("flat affine", "affine"),
        ("giant", "limit"),
        ("needle voxels", "4096 pixels"),
        *[(kind, "empty, constant or a mask") for kind in ("empty", "constant", "mask", "not a number")],
    ],
)
def test_a_file_that_is_no_usable_scan_is_named_with_the_reason(tmp_path, kind, reason):
    path = broken(tmp_path, kind)
    with pytest.raises(BadVolume, match=reason) as raised:
        slices(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_gz_that_unpacks_without_end_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(scans, "MAX_VOXELS", 12**3)
    path = save(tmp_path / "scan.nii.gz", noise())
    slices(path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2**20)))
    with pytest.raises(BadVolume, match="unpacks to more"):
        slices(path)


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        ({"plane": "oblique"}, r"^volumes\.plane=oblique must be one of sagittal, coronal, axial$"),
        ({"between": (0.6, 0.4)}, r"^volumes\.between=\[0\.6, 0\.4\]: give two fractions"),
        ({"between": (0, 2)}, r"^volumes\.between=\[0, 2\]: give two fractions"),
        ({"between": (0.1,)}, r"^volumes\.between=\[0\.1\]: give two fractions"),
        ({"orientation": "RRS"}, r"^volumes\.orientation=RRS: give the directions of the three voxel axes"),
        ({"orientation": "ras"}, r"^volumes\.orientation=ras: give the directions"),
        ({"central": 0}, r"^volumes\.central=0 must be at least 1$"),
        (
            {"central": 13},
            r"volumes\.central=13, but it has 12 axial slices in volumes\.between=\[0\.0, 1\.0\]; give fewer",
        ),
        (
            {"between": (0.5, 0.51)},
            r": none of its 12 axial slices lies in volumes\.between=\[0\.5, 0\.51\]; give a wider part, ",
        ),
    ],
)
def test_slices_that_cannot_be_are_refused(tmp_path, choice, line):
    with pytest.raises(UserError, match=line):
        slices(save(tmp_path / "scan.nii", noise()), **choice)


def test_without_nibabel_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[nifti\]'"):
        slices(tmp_path / "scan.nii")
    with pytest.raises(UserError, match=r"pip install -e '\.\[nifti\]'"):
        write_slices(tmp_path, tmp_path / "slices")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found_in(root: Path, *names: str, **options) -> list[tuple[str, str, str]]:
    """Class, person and name of the volumes of a folder with such files."""
    volumes = find_volumes(touch(root, *names), **options).volumes
    return [(volume.label, volume.subject, volume.name) for volume in volumes]


def test_volumes_are_found_with_class(tmp_path):
    assert found_in(
        tmp_path,
        *("CN/b.nii", "CN/a.NII.GZ", "CN/._a.nii.gz", "CN/notes.txt", "README.md"),
        *("AD/p7/one.nii", "AD/p7/two.nii", "AD/sub-3_ses-1_T1w.nii.gz", "AD/head.hdr", "AD/head.img"),
        *("CN/orig.mgz", "CN/old.mgh"),
        subjects="none",
    ) == [
        ("AD", "AD/head.hdr", "head"),
        ("AD", "AD/p7/one.nii", "p7_one"),
        ("AD", "AD/p7/two.nii", "p7_two"),
        ("AD", "AD/sub-3_ses-1_T1w.nii.gz", "sub-3_ses-1_T1w"),
        ("CN", "CN/a.NII.GZ", "a"),
        ("CN", "CN/b.nii", "b"),
        ("CN", "CN/old.mgh", "old"),
        ("CN", "CN/orig.mgz", "orig"),
    ]


def test_each_folder_in_a_class_folder_is_a_person_with_a_line(tmp_path):
    names = ["AD/p7/one.nii", "AD/p7/two.nii", "CN/anna/visit 1/one.nii"]
    found = find_volumes(touch(tmp_path, *names))
    assert [volume.subject for volume in found.volumes] == ["p7", "p7", "anna"]
    assert "each folder in a class folder is taken for a person, the first is p7" in found.notes[0]


IDS = [f"patient{person:03d}_{visit}.nii.gz" for person in range(3) for visit in ("bl", "m12")]
PATIENTS = shell_override("data.subjects", r"regex:(patient\d+)")


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (["CN/a.nii", "CN/b.nii"], ""),
        (["p1.nii", "p2.nii"], ""),
        (["anat/a/1.nii", "anat/a/2.nii"], ""),  # one folder for all
        (IDS, f"{PATIENTS} if patient000 is a person, or "),
        (IDS[:5], f"{PATIENTS} if patient000 is a person, or "),
        ([f"AD/{name[:13]}/T1.nii" for name in IDS], f"{PATIENTS} if patient000 is a person, or "),
    ],
)
def test_volumes_of_people_whom_nobody_knows_are_refused_with_advice(tmp_path, names, advice):
    with pytest.raises(UserError) as raised:
        find_volumes(touch(tmp_path, *names))
    assert str(raised.value) == (
        f"the people in the volumes are unknown: no rule fits names like {min(names)}; give {advice}"
        "data.subjects=csv:FILE (columns file, subject), data.subjects=regex:PATTERN (its first "
        "group is the person) or data.subjects=none (each file is a person of its own)"
    )


def test_one_volume_alone_is_one_person(tmp_path):
    assert len(find_volumes(touch(tmp_path, "head.nii")).volumes) == 1


def test_the_rules_of_images_say_who_is_in_volumes(tmp_path):
    assert [who for _, who, _ in found_in(tmp_path, *IDS, subjects=r"regex:(patient\d+)")] == [
        *["patient000"] * 2,
        *["patient001"] * 2,
        *["patient002"] * 2,
    ]
    with pytest.raises(UserError, match=r"data\.subjects=adni does not fit 6 of 6 files"):
        find_volumes(tmp_path, subjects="adni")
    assert {who for _, who, _ in found_in(tmp_path, subjects="content")} == {""}
    table = "file,subject,split,class,age\n" + "".join(
        f"{name},{name[7:10]},{'test' if name[9] == '0' else 'train'},AD,{number}\n"
        for number, name in enumerate(IDS)
    )
    (tmp_path / "people.csv").write_text(table)
    volumes = find_volumes(tmp_path, subjects=f"csv:{tmp_path / 'people.csv'}", classes="csv").volumes
    assert [(volume.subject, volume.part, volume.label) for volume in volumes[1:3]] == [
        ("000", "test", "AD"),
        ("001", "train", "AD"),
    ]
    assert volumes[2].columns == {"age": "2"}
    (tmp_path / "subjects.csv").write_text(table.replace(",AD,", ",../AD,"))
    assert find_volumes(tmp_path).volumes[0].subject == "000"
    with pytest.raises(UserError, match=r"the class '\.\./AD' cannot name a folder"):
        find_volumes(tmp_path, classes="csv")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["a.nii", "a_seg.nii.gz", "b-mask2.mgz"], ["a_seg.nii.gz", "b-mask2.mgz"]),
        (["a.nii", "a_space-T1w_dseg.nii", "a_label-GM_probseg.nii"], 2),
        (["p/T1.mgz", "p/aparc+aseg.mgz", "p/aparc.DKTatlas+aseg.mgz", "p/wmparc.mgz", "p/aseg.mgz"], 4),
        (["a.nii", "a_aparc_aseg.nii", "a_Label.nii", "a_ROI.nii"], 3),
        (["imagesTr/1.nii", "labelsTr/1.nii"], ["labelsTr/1.nii"]),
        (["a/images/1.nii", "a/masks/1.nii"], ["a/masks/1.nii"]),
        (["a_seg.nii", "b_seg.nii"], []),  # all that there is
        (["a.nii", "segmented.nii", "brainmask.mgz", "unlabel.nii"], []),
    ],
)
def test_volumes_named_as_labels_are_left_out_with_a_line(tmp_path, names, labels):
    found = find_volumes(touch(tmp_path, *names), subjects="none")
    paths = {volume.path.relative_to(tmp_path).as_posix() for volume in found.volumes}
    left_out = sorted(set(names) - paths)
    assert left_out == labels or len(left_out) == labels
    lines = [note for note in found.notes if "named as labels" in note]
    assert [line.partition(" volume")[0] for line in lines] == [str(len(left_out))] * bool(left_out)
    assert not left_out or f"the first is {left_out[0]}; rename it if it is a scan" in lines[0]


def label_map() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 45, (12, 12, 12)).astype(np.int16)


@pytest.mark.parametrize("labels", [label_map(), label_map() > 20], ids=["45 labels", "binary"])
def test_volumes_of_few_whole_numbers_are_left_out_with_a_line(study, tmp_path, labels):
    save(study / "CN/parcels.nii", labels.astype(np.int16))
    save(study / "CN/thickness.nii", label_map() / np.float32(2))  # few values, but no whole numbers
    save(study / "CN/dim.nii", label_map() + 30 * (noise() > 500).astype(np.int16))  # 75 values
    sliced = write_slices(study, tmp_path / "slices", subjects="none", central=1)
    assert sliced.notes[-1] == (
        "1 volume of fewer than 64 whole numbers left out as labels, the first is CN/parcels.nii; "
        "prepare them alone to keep them"
    )
    names = {path.stem for path in (tmp_path / "slices/CN").iterdir()}
    assert names == {"dim_slice-005", "p3_slice-005", "thickness_slice-005"}


def test_volumes_of_few_whole_numbers_are_kept_where_there_are_no_others(tmp_path):
    for name in ("a", "b"):
        save(touch(tmp_path / "study", f"{name}.nii") / f"{name}.nii", label_map())
    sliced = write_slices(tmp_path / "study", tmp_path / "slices", subjects="none")
    assert sliced == Sliced([], [*sliced.notes[:1], "each volume counts as a person of its own"])
    assert len(list((tmp_path / "slices/all").iterdir())) == 24


def test_labels_do_not_stand_in_for_scans_that_cannot_be_used(tmp_path):
    study = touch(tmp_path / "study", "a.nii")  # empty
    save(study / "b.nii", label_map())
    with pytest.raises(UserError, match=r"a\.nii: damaged or not a scan .* nor can any other one"):
        write_slices(study, tmp_path / "slices", subjects="none", bad_files="skip")


def test_people_spelled_in_two_ways_are_refused_before_a_slice_is_cut(study, tmp_path):
    (study / "AD/p2.nii.gz").rename(study / "AD/sub-07.nii.gz")
    (study / "AD/p1.nii.gz").rename(study / "AD/sub-7.nii.gz")
    (study / "CN/p3.nii.gz").rename(study / "CN/sub-8.nii.gz")
    with pytest.raises(UserError, match="1 person is spelled in several ways"):
        find_volumes(study)


@pytest.mark.parametrize("depth", [1, 7])
def test_a_thin_volume_is_cut_only_along_its_planes(study, tmp_path, depth):
    path = save(study / "AD/thin.nii", noise((12, 12, depth + 1))[..., :depth])
    assert slices(path, plane="axial").shape == (depth, 12, 12)
    reason = f"{depth} axial slices alone: cut sagittal it gives stripes"
    line = rf"thin\.nii: {reason}; set volumes\.plane=axial, or set data\.bad_files=skip"
    with pytest.raises(BadVolume, match=line):
        write_slices(study, tmp_path / "slices", plane="sagittal", subjects="none")
    options = {"plane": "sagittal", "subjects": "none", "bad_files": "skip"}
    sliced = write_slices(study, tmp_path / "slices", **options)
    assert sliced.skipped == [("AD/thin.nii", reason)]


def test_a_flat_folder_is_one_class(tmp_path):
    found = found_in(tmp_path, "a.nii", "b.nii.gz", subjects=r"regex:(\w+)")
    assert found == [("all", "a", "a"), ("all", "b", "b")]


def test_folders_that_are_people_are_of_one_class(tmp_path):
    names = ["sub-1/anat/a.nii", "sub-1/ses-2/anat/b.nii", "sub-2/anat/a.nii"]
    assert found_in(tmp_path, *names) == [
        ("all", "sub-1", "sub-1_anat_a"),
        ("all", "sub-1", "sub-1_ses-2_anat_b"),
        ("all", "sub-2", "sub-2_anat_a"),
    ]
    assert find_volumes(tmp_path).notes == [
        "the 2 folders are people (sub-1, ...), not classes: all images are of one class, all; "
        "data.classes=folder takes folders as classes"
    ]
    labels = [volume.label for volume in find_volumes(tmp_path, classes="folder").volumes]
    assert labels == ["sub-1", "sub-1", "sub-2"]


def test_visits_in_a_download_tree_are_of_the_person_that_the_names_say(tmp_path):
    found = found_in(
        tmp_path,
        *("AD/002_S_0295/MPRAGE/2006-04-18_08_20_30.0/I13722/ADNI_002_S_0295_MR_MPRAGE_br_raw_1_I13722.nii",),
        *("CN/ADNI_002_S_0295_MR_MPRAGE_br_raw_2_I40966.nii", "CN/ADNI_005_S_0223_MR_I1.nii"),
    )
    assert [(label, subject) for label, subject, _ in found] == [
        ("AD", "002_S_0295"),
        ("CN", "002_S_0295"),
        ("CN", "005_S_0223"),
    ]


def test_a_given_split_goes_into_the_manifest(tmp_path):
    for name in ("train/AD/p1", "train/CN/p2", "test/AD/p3"):
        (tmp_path / "study" / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / "study" / f"{name}.nii", noise())
    sliced = write_slices(tmp_path / "study", tmp_path / "slices", central=1, subjects=r"regex:(p\d)")
    assert sliced.notes == ["the folders test, train are a split"]
    with (tmp_path / "slices/manifest.csv").open(newline="") as file:
        rows = [(row["file"], row["class"], row["split"]) for row in csv.DictReader(file)]
    assert rows == [
        ("AD/p3_slice-005.png", "AD", "test"),
        ("AD/p1_slice-005.png", "AD", "train"),
        ("CN/p2_slice-005.png", "CN", "train"),
    ]


def test_what_a_pattern_fits_is_left_out(tmp_path):
    names = ["AD/1.nii", "AD/1_seg.nii", "AD/raw/1.nii"]
    found = find_volumes(touch(tmp_path, *names), exclude=["*_seg.nii", "raw"])
    assert [volume.name for volume in found.volumes] == ["1"]
    assert found.notes == []


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["CN/a.png"], r"holds no volume \(.nii, "),
        (["CN/a.nii", "b.nii"], "b.nii beside them"),
        (["CN/a.nii", "CN/a.nii.gz"], "same names"),
    ],
)
def test_folders_that_do_not_say_what_is_what_are_refused(tmp_path, names, line):
    with pytest.raises(UserError, match=line):
        find_volumes(touch(tmp_path, *names), subjects="none")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        find_volumes(tmp_path / "nowhere")


@pytest.fixture
def study(tmp_path) -> Path:
    root = tmp_path / "study"
    for label, name in [("AD", "p1"), ("AD", "p2"), ("CN", "p3")]:
        (root / label).mkdir(parents=True, exist_ok=True)
        save(root / label / f"{name}.nii.gz", noise())
    return root


def test_the_folder_of_slices_and_its_manifest_are_what_the_scanner_of_images_reads(study, tmp_path):
    destination = tmp_path / "slices"
    sliced = write_slices(study, destination, central=2, subjects=r"regex:(p\d)")
    assert sliced == Sliced(skipped=[], notes=[])
    with (destination / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "class", "subject", "slice", "split", "scan"]
    assert [row["scan"] for row in rows] == ["p1", "p1", "p2", "p2", "p3", "p3"]
    assert [(row["file"], row["class"], row["subject"], row["slice"], row["split"]) for row in rows[:3]] == [
        ("AD/p1_slice-005.png", "AD", "p1", "5", ""),
        ("AD/p1_slice-006.png", "AD", "p1", "6", ""),
        ("AD/p2_slice-005.png", "AD", "p2", "5", ""),
    ]
    files = scan(destination)
    assert [file.path for file in files] == [row["file"] for row in rows]
    assert identify(destination, files).subject == ["p1", "p1", "p2", "p2", "p3", "p3"]
    with Image.open(destination / "CN/p3_slice-005.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(image, slices(study / "CN/p3.nii.gz", central=2)[0])


def test_a_bad_volume_leaves_nothing_behind_or_is_skipped_and_told(study, tmp_path):
    (study / "AD/p2.nii.gz").write_bytes(b"")
    with pytest.raises(BadVolume, match=r"p2\.nii\.gz"):
        write_slices(study, tmp_path / "slices", subjects="none")
    assert [path.name for path in tmp_path.iterdir()] == ["study"]
    options = {"subjects": "none", "bad_files": "skip"}
    ((path, reason),) = write_slices(study, tmp_path / "slices", **options).skipped
    assert path == "AD/p2.nii.gz"
    assert reason.startswith("damaged")
    assert sorted(path.name for path in (tmp_path / "slices").iterdir()) == ["AD", "CN", "manifest.csv"]


def test_a_folder_of_bad_volumes_only_is_an_error_even_where_they_may_be_skipped(tmp_path):
    with pytest.raises(UserError, match="nor can any other"):
        write_slices(touch(tmp_path / "study", "a.nii"), tmp_path / "slices", bad_files="skip")
    assert not (tmp_path / "slices").exists()


def test_a_folder_that_holds_something_is_never_overwritten(study, tmp_path):
    touch(tmp_path, "slices/precious.txt")
    with pytest.raises(UserError, match="exists already"):
        write_slices(study, tmp_path / "slices", subjects="none")
    assert [path.name for path in (tmp_path / "slices").iterdir()] == ["precious.txt"]


@pytest.mark.skipif(NIFTI_ROOT is None, reason="ALZGAN_NIFTI_ROOT is unset")
def test_real_heads_stand_upright(tmp_path):
    for name in ("IXI012-HH-1211_T1.nii.gz", "IXI015-HH-1258_T1.nii.gz"):
        path = Path(NIFTI_ROOT, name)
        sagittal = slices(path, plane="sagittal", central=1)[0] > 40
        top, bottom = sagittal[:10].sum(), sagittal[-10:].sum()
        assert top < bottom, "air above the head, the neck cut off below"
        front, back = sagittal[:60, -20:].sum(), sagittal[:60, :20].sum()
        assert front < back, "the face recedes above the nose, the back of the head does not"
        image = nibabel.load(path)
        turned = image.as_reoriented(nibabel.orientations.axcodes2ornt("SAL"))
        nibabel.save(turned, tmp_path / name)
        for plane in ("axial", "coronal", "sagittal"):
            np.testing.assert_allclose(
                slices(tmp_path / name, plane=plane).astype(int), slices(path, plane=plane), atol=1
            )


@pytest.mark.skipif(NIFTI_ROOT is None, reason="ALZGAN_NIFTI_ROOT is unset")
def test_the_real_brain_is_longer_than_wide_and_nearly_symmetric_about_the_middle_column():
    axial = slices(Path(NIFTI_ROOT, "spm152.nii.gz"), central=1)[0]
    rows, columns = (np.ptp(np.flatnonzero((axial > 40).any(axis=axis))) for axis in (1, 0))
    assert 1.1 < rows / columns < 1.4
    middle = axial[:, 2:]  # the affine puts x = 0 at voxel 102.7 of 207
    assert np.corrcoef(middle.ravel(), middle[:, ::-1].ravel())[0, 1] > 0.9
