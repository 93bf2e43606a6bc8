"""DICOM series become the slices of the NIfTI file of the same scan, whatever their files are called."""

import sys
from pathlib import Path

import numpy as np
import pytest
from test_volumes import head, noise, save, slices

from alzgan.errors import UserError
from alzgan.images.decoding import read_image
from alzgan.sources.bad_volume import BadVolume
from alzgan.sources.volumes import find_volumes, write_slices

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")

MR = "1.2.840.10008.5.1.4.1.1.4"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
# How a scanner lays its planes: the order and direction of the voxel axes (columns, rows, slices).
LAYOUTS = {"axial": "LPS", "coronal": "LIA", "sagittal": "PIR", "from the top": "LPI"}


def dataset(uid: str = MR, **elements) -> "pydicom.Dataset":
    """An MR image without pixels."""
    file = pydicom.Dataset()
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = uid
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    for name, value in {"SeriesInstanceUID": "1.2.3", "PatientID": "", **elements}.items():
        setattr(file, name, value)
    return file


def with_pixels(file: "pydicom.Dataset", pixels: np.ndarray, **elements) -> "pydicom.Dataset":
    """The same with 16-bit grey pixels (H, W) or (frames, H, W)."""
    file.Rows, file.Columns = pixels.shape[-2:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated = file.BitsStored = 16
    file.HighBit, file.PixelRepresentation = 15, 0
    for name, value in elements.items():
        setattr(file, name, value)
    file.PixelData = np.ascontiguousarray(pixels, "<u2").tobytes()
    return file


def geometry(image: "nibabel.Nifti1Image") -> tuple[np.ndarray, np.ndarray, np.ndarray, list]:
    """Unit vectors (3, 3) of the voxel axes, spacing and corners of the slices, in the frame of DICOM."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    corners = [affine[:3, :3] @ (0, 0, k) + affine[:3, 3] for k in range(image.shape[2])]
    return (affine[:3, :3] / spacing).T, spacing, corners


def write_series(
    folder: Path, path: Path, names: list[str] | None = None, slope: float = 1, **elements
) -> Path:
    """A NIfTI file as a series of one file a slice, named in an order of its own."""
    image = nibabel.load(path)
    axes, spacing, corners = geometry(image)
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(0).permutation(image.shape[2])
    names = names or [f"IM{number:03d}" for number in range(image.shape[2])]
    for name, k in zip(names, order, strict=True):
        values = np.asarray(image.dataobj)[:, :, k].T
        file = with_pixels(dataset(), values / slope, **elements)
        file.ImagePositionPatient = [f"{value:.10g}"[:16] for value in corners[k]]
        file.ImageOrientationPatient = [float(value) for value in (*axes[0], *axes[1])]
        file.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        file.SliceThickness = 99.0  # of a slice, not of the gap: it must not be used
        file.InstanceNumber = int(order[k])  # no order either
        if slope != 1:
            file.RescaleSlope, file.RescaleIntercept = slope, -7
        file.save_as(folder / name, enforce_file_format=True)
    return folder


def write_multi_frame(path: Path, nifti: Path, places: int | None = None) -> Path:
    """A NIfTI file as one enhanced MR file, its frames in an order of its own."""
    image = nibabel.load(nifti)
    axes, spacing, corners = geometry(image)
    order = np.random.default_rng(1).permutation(image.shape[2])
    file = dataset(ENHANCED_MR, NumberOfFrames=image.shape[2])
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [float(spacing[1]), float(spacing[0])], 99.0
    plane.ImageOrientationPatient = [float(value) for value in (*axes[0], *axes[1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    file.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for k in order[:places]:
        frame, position, scaling = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [f"{value:.10g}"[:16] for value in corners[k]]
        scaling.RescaleSlope, scaling.RescaleIntercept = 1, 0
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [scaling]
        frames.append(frame)
    file.PerFrameFunctionalGroupsSequence = frames
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.asarray(image.dataobj)[:, :, k].T for k in order])
    with_pixels(file, pixels).save_as(path, enforce_file_format=True)
    return path.parent


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_a_series_gives_the_slices_of_the_nifti_file(tmp_path, layout, plane):
    nifti = save(tmp_path / "head.nii", head(), (1, 2, 3), LAYOUTS[layout])
    expected = slices(nifti, plane=plane)
    assert expected.max() > 150
    np.testing.assert_array_equal(slices(write_series(tmp_path / "series", nifti), plane=plane), expected)
    np.testing.assert_array_equal(
        slices(write_multi_frame(tmp_path / "frames/one.dcm", nifti), plane=plane), expected
    )


def test_pixels_are_rescaled_and_dark_where_white_is_zero(tmp_path):
    nifti = save(tmp_path / "head.nii", head() * 4, orientation="LPS")
    expected = slices(nifti)
    np.testing.assert_array_equal(slices(write_series(tmp_path / "rescaled", nifti, slope=0.25)), expected)
    inverted = nibabel.load(nifti)
    negative = nibabel.Nifti1Image(2000 - np.asarray(inverted.dataobj), inverted.affine)
    nibabel.save(negative, tmp_path / "negative.nii")
    white_is_zero = {"PhotometricInterpretation": "MONOCHROME1"}
    series = write_series(tmp_path / "inverted", tmp_path / "negative.nii", **white_is_zero)
    np.testing.assert_array_equal(slices(series), expected)


def test_an_oblique_series_is_turned_to_the_closest_axes(tmp_path):
    turn = np.eye(4)
    angle = np.deg2rad(20)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    image = nibabel.load(save(tmp_path / "head.nii", head(), orientation="LPS"))
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), tmp_path / "oblique.nii"
    )
    expected = slices(tmp_path / "oblique.nii")
    np.testing.assert_array_equal(slices(write_series(tmp_path / "s", tmp_path / "oblique.nii")), expected)


def test_a_folder_of_series_is_sliced_with_class_and_person(tmp_path):
    study, nifti = tmp_path / "study", save(tmp_path / "head.nii", noise(), orientation="LPS")
    write_series(study / "AD/p1/visit1", nifti)
    write_series(study / "AD/p1/visit2", nifti, SeriesInstanceUID="1.2.4")
    write_series(study / "CN/p2", nifti, [f"{number}.dcm" for number in range(12)])
    write_series(
        study / "CN/p2", nifti, [f"x{number}.dcm" for number in range(12)], SeriesInstanceUID="1.2.5"
    )
    dataset(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11").save_as(
        study / "CN/p2/report", enforce_file_format=True
    )
    found = find_volumes(study).volumes
    assert [(volume.label, volume.subject, volume.name, len(volume.series.files)) for volume in found] == [
        ("AD", "p1", "p1_visit1", 12),
        ("AD", "p1", "p1_visit2", 12),
        ("CN", "p2", "p2_series-000", 12),
        ("CN", "p2", "p2_series-001", 12),
    ]
    write_slices(study, tmp_path / "slices", central=1)
    names = sorted(path.name for path in (tmp_path / "slices").rglob("*.png"))
    assert names == [
        "p1_visit1_slice-005.png",
        "p1_visit2_slice-005.png",
        "p2_series-000_slice-005.png",
        "p2_series-001_slice-005.png",
    ]


def test_patients_say_who_is_who_where_all_have_an_id(tmp_path):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    for folder, patient in (("a", "17"), ("b", "17"), ("c", "18")):
        write_series(tmp_path / "study/AD" / folder, nifti, PatientID=patient)
    subjects = [volume.subject for volume in find_volumes(tmp_path / "study").volumes]
    assert subjects == ["17", "17", "18"]
    write_series(tmp_path / "study/AD/d", nifti)
    assert [volume.subject for volume in find_volumes(tmp_path / "study").volumes] == ["a", "b", "c", "d"]


def edited(folder: Path, number: int, **elements) -> None:
    """Change elements of one file of a series; None removes them."""
    path = sorted(folder.iterdir())[number]
    file = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            delattr(file, name)
        else:
            setattr(file, name, value)
    file.save_as(path)


STRANGER = "not of the size, direction and spacing of most slices of its series, as of a localizer"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: sorted(folder.iterdir())[3].unlink(), "gaps of 1.00 to 2.00 mm: a slice is missing"),
        (lambda folder: edited(folder, 3, ImageOrientationPatient=[1, 0, 0, 0, 0, -1]), STRANGER),
        (lambda folder: edited(folder, 3, ImagePositionPatient=None), "no ImagePositionPatient"),
        (lambda folder: edited(folder, 3, PixelSpacing=None), r"how far apart its pixels are \(no PixelSp"),
        (lambda folder: edited(folder, 3, PixelSpacing=""), r"how far apart its pixels are \(no PixelSp"),
        (lambda folder: edited(folder, 3, PixelSpacing=1), "its PixelSpacing is not 2 numbers"),
        (lambda folder: edited(folder, 3, PixelSpacing=[1, 2]), STRANGER),
        (lambda folder: edited(folder, 3, Columns=None), "how many rows and columns"),
        (
            lambda folder: edited(folder, 3, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]),
            "a Siemens mosaic, many slices in one image: convert it with dcm2niix",
        ),
        (lambda folder: edited(folder, 3, SamplesPerPixel=3), "colour images"),
        (lambda folder: edited(folder, 3, PixelData=b"\0\0"), "pixels cannot be read"),
        (lambda folder: edited(folder, 3, Rows=65535, Columns=65535), "more than the limit"),
        (lambda folder: edited(folder, 3, Rows=2, PixelData=bytes(48)), STRANGER),
        (lambda folder: (folder / "zero.dcm").write_bytes(b"not DICOM"), "damaged or not DICOM"),
    ],
)
def test_a_series_that_is_no_scan_is_named_with_the_reason(tmp_path, change, reason):
    series = write_series(tmp_path / "series", save(tmp_path / "head.nii", noise(), orientation="LPS"))
    change(series)
    with pytest.raises(BadVolume, match=reason) as raised:
        slices(series)
    assert str(series) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_two_slices_at_one_place_are_several_scans(tmp_path):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    series = write_series(tmp_path / "series", nifti)
    other = save(tmp_path / "other.nii", noise()[::-1], orientation="LPS")
    write_series(series, other, [f"echo{number}" for number in range(12)])
    with pytest.raises(BadVolume, match="several slices at one place"):
        slices(series)


def test_two_slices_almost_at_one_place_are_several_scans_too(tmp_path):
    nifti = save(tmp_path / "head.nii", noise(), (1, 1, 5), "LPS")
    series = write_series(tmp_path / "series", nifti)
    again = pydicom.dcmread(series / "IM004")
    again.ImagePositionPatient[2] += 0.25
    again.save_as(series / "again")
    with pytest.raises(BadVolume, match="several slices at one place"):
        slices(series)


def turn(path: Path) -> None:
    number = sorted(path.parent.iterdir()).index(path)
    edited(path.parent, number, ImageOrientationPatient=[1, 0, 0, 0, 0, -1])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"<!DOCTYPE html><html>Sign in</html>" * 20), "damaged or not DICOM"),
        (lambda path: path.write_bytes(path.read_bytes()[:140]), "it ends before its image"),
        (lambda path: path.write_bytes(path.read_bytes()[:400]), "it ends before its image"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "its pixels cannot be read"),
        (turn, STRANGER),
    ],
    ids=["empty", "HTML", "no header", "short header", "short pixels", "localizer"],
)
@pytest.mark.parametrize("added", [True, False], ids=["beside the slices", "in place of one"])
def test_an_odd_file_costs_itself_and_not_its_series(tmp_path, change, reason, added):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    expected = slices(nifti)
    series = write_series(tmp_path / "study/p1", nifti)
    odd = series / ("IM099" if added else "IM004")
    lost = round(float(pydicom.dcmread(series / "IM004").ImagePositionPatient[2]))
    if added:
        odd.write_bytes((series / "IM004").read_bytes())
    change(odd)
    with pytest.raises(BadVolume, match=rf"{odd.name}: {reason}.*, or set data\.bad_files=skip$"):
        write_slices(tmp_path / "study", tmp_path / "slices")
    sliced = write_slices(tmp_path / "study", tmp_path / "slices", bad_files="skip")
    ((name, said),) = sliced.skipped
    assert name == f"p1/{odd.name}"
    assert said.startswith(reason)
    written = sorted((tmp_path / "slices/all").iterdir())
    there = [place for place in range(12) if added or place != lost]
    assert [path.name[-7:-4] for path in written] == [f"{place:03d}" for place in there]
    for place, path in zip(there, written, strict=True):
        np.testing.assert_allclose(read_image(path).squeeze().astype(int), expected[place], atol=3)


def test_a_slice_that_is_lost_is_no_line_through_the_other_planes(tmp_path):
    series = write_series(tmp_path / "study/p1", save(tmp_path / "head.nii", noise(), orientation="LPS"))
    (series / "IM004").write_bytes(b"")
    with pytest.raises(UserError, match="1 axial slice missing: cut coronal it has gaps"):
        write_slices(tmp_path / "study", tmp_path / "slices", plane="coronal", bad_files="skip")


def test_a_copy_of_a_slice_is_left_out_by_name(tmp_path):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    series = write_series(tmp_path / "study/p1", nifti)
    (series / "IM004 (1)").write_bytes((series / "IM004").read_bytes())
    with pytest.raises(BadVolume, match=r"IM004 \(1\): a copy of IM004; mend or remove it, or set data"):
        write_slices(tmp_path / "study", tmp_path / "slices")
    sliced = write_slices(tmp_path / "study", tmp_path / "slices", bad_files="skip")
    assert sliced.skipped == [("p1/IM004 (1)", "a copy of IM004")]
    first = read_image(sorted((tmp_path / "slices/all").iterdir())[0]).squeeze()
    np.testing.assert_array_equal(first, slices(nifti)[0])


@pytest.mark.parametrize("mosaics", [1, 12])
def test_mosaics_cost_one_line_where_all_files_are_such(tmp_path, mosaics):
    series = write_series(tmp_path / "study/p1", save(tmp_path / "head.nii", noise(), orientation="LPS"))
    for number in range(mosaics):
        edited(series, number, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    save(tmp_path / "study/p2.nii", noise())
    options = {"subjects": "none", "bad_files": "skip"}
    ((name, reason),) = write_slices(tmp_path / "study", tmp_path / "slices", **options).skipped
    assert name == ("p1" if mosaics == 12 else "p1/IM000")
    assert reason == "a Siemens mosaic, many slices in one image: convert it with dcm2niix"


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("meta", [True, False])
def test_files_without_preamble_and_suffix_are_read(tmp_path, implicit, meta):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    series = write_series(tmp_path / "study/p1", nifti)
    for path in series.iterdir():
        file = pydicom.dcmread(path)
        if implicit:
            file.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        file.save_as(path, implicit_vr=implicit, little_endian=True)
        whole = path.read_bytes()
        path.write_bytes(whole[132:] if meta else whole[144 + int.from_bytes(whole[140:144], "little") :])
    (tmp_path / "study/p1/README").write_text("no DICOM\n" * 50)
    (tmp_path / "study/p1/LISTING").write_bytes(bytes(range(8)) * 50)
    np.testing.assert_array_equal(slices(series), slices(nifti))
    (volume,) = find_volumes(tmp_path / "study").volumes
    assert len(volume.series.files) == 12


def test_frames_without_a_place_are_refused(tmp_path):
    nifti = save(tmp_path / "head.nii", noise(), orientation="LPS")
    with pytest.raises(BadVolume, match="12 frames, but places of 11"):
        slices(write_multi_frame(tmp_path / "frames/one.dcm", nifti, places=11))


def test_without_pydicom_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    series = write_series(tmp_path / "series", save(tmp_path / "head.nii", noise(), orientation="LPS"))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[dicom\]'"):
        slices(series)
