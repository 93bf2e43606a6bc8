"""The names of public data sets say who is in a file; unknown names get a suggestion that works."""

import shlex

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from alzgan.errors import UserError
from alzgan.images.folder import ImageFile
from alzgan.people.names import suggest_pattern
from alzgan.people.subjects import identify


def files_of(*paths: str) -> list[ImageFile]:
    return [ImageFile(path, path.partition("/")[0]) for path in paths]


@pytest.mark.parametrize(
    ("rule", "path", "subject", "slice"),
    [
        ("bids", "sub-01/ses-02/anat/sub-01_ses-02_T1w_slice-110.png", "sub-01", 110),
        ("bids", "AD/sub-X1_T1w.png", "sub-X1", None),
        ("bids", "AD/Müller sub-001 – 0.PNG", "sub-001", None),
        ("adni", "AD/002_S_0295/MP-RAGE/2006-04-18_08_20_30.0/I13722/axial_90.png", "002_S_0295", None),
        ("adni", "CN/ADNI_002_S_0295_MR_MP-RAGE__br_raw_20060418_1_S13408_I13722.png", "002_S_0295", None),
        ("adni", "all/941_S_10013_MPRAGE_I1_slice-007.png", "941_S_10013", 7),
        ("oasis", "Non Demented/OAS1_0028_MR1_mpr-1_100.jpg", "OAS1_0028", 100),
        ("oasis", "Non Demented/OAS1_0028_MR2_mpr-3_100.jpg", "OAS1_0028", 100),
        ("oasis", "disc1/OAS1_0001_MR1/RAW/OAS1_0001_MR1_mpr-1_anon_slice-061.png", "OAS1_0001", 61),
        ("oasis", "OAS2_0004_MR2_slice-3.png", "OAS2_0004", 3),
        ("oasis", "OAS30001_MR_d0129/anat4/sub.png", "OAS30001", None),
        ("ixi", "IXI012-HH-1211-T1_slice-100.png", "IXI012", 100),
        ("ixi", "AD/IXI601-Guys-1071-T1.png", "IXI601", None),
        ("aibl", "AIBL/1112/MPRAGE/2010-03-11/I210904/x.png", "1112", None),
        ("aibl", "CN/AIBL_7_MR_MPRAGE_I1_slice-12.png", "7", 12),
        ("tcga", "TCGA_CS_4941_19960909/TCGA_CS_4941_19960909_12.tif", "TCGA_CS_4941", 12),
        ("tcga", "TCGA-02-0003-01A.png", "TCGA-02-0003", None),
    ],
)
def test_each_data_set_is_read(rule, path, subject, slice):
    found = identify(".", files_of(path), rule)
    assert (found.subject, found.slice) == ([subject], [slice])
    assert identify(".", files_of(path), "auto").subject == [subject]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("adni", "AD/1002_S_0295.png"),
        ("adni", "AD/002_S_029512.png"),
        ("oasis", "OAS1_00281.png"),
        ("oasis", "OAS5_0028.png"),
        ("ixi", "IXI012.png"),
        ("bids", "AD/unsub-01.png"),
        ("tcga", "AD/TCGA.png"),
    ],
)
def test_what_is_no_name_of_the_set_is_not_taken_for_one(rule, path):
    with pytest.raises(UserError, match="does not fit"):
        identify(".", files_of(path), rule)


def test_visits_and_scans_of_six_people_in_two_classes_are_six_people():
    roster = ["002_S_0295", "002_S_0413", "005_S_0223", "011_S_0002", "941_S_4376", "136_S_0184"]
    paths = [
        f"{label}/ADNI_{person}_MR_MPRAGE_br_raw_2006{visit}_S{number}_I{number}{visit}_slice-{place:03d}.png"
        for number, person in enumerate(roster)
        for visit, label in enumerate(["CN", "AD"])
        for place in range(3)
    ]
    found = identify(".", files_of(*paths), "auto")
    assert found.rule == "adni"
    assert sorted(set(found.subject)) == sorted(roster)


@pytest.mark.parametrize(
    ("paths", "pattern", "example"),
    [
        ([f"AD/patient{p}_{s}.png" for p in (3, 14, 15) for s in range(4)], r"(patient\d+)", "patient3"),
        ([f"AD/{p}/slice_{s}.png" for p in (3, 14) for s in range(4)], r"(\d+)", "3"),
        ([f"x/{p:04d}-{s}.png" for p in (3, 14) for s in range(4)], r"(\d+)", "0003"),
        ([f"AD/p{p}_{s}.png" for p in (3, 14) for s in ("bl", "m12", "m24/2")], r"(p\d+)", "p3"),
        ([f"AD/scan 7_p{p}_z{s}.png" for p in (3, 14) for s in range(4)], r"(p\d+)", "p3"),
    ],
)
def test_names_that_look_like_ids_get_a_pattern_that_reads_them(paths, pattern, example):
    assert suggest_pattern(paths) == (pattern, example)


@pytest.mark.parametrize(
    "paths",
    [
        [f"AD/{number}.png" for number in range(20)],  # each its own number: of slices or of people
        [f"AD/slice_{number}_{axis}.png" for number in range(5) for axis in range(3)],
        [f"AD/scan1_{number}.png" for number in range(20)],  # one person, or none
        ["AD/p1_1.png", "AD/q2_1.png"],
        [f"AD/visit{visit}_{name}.png" for visit in range(2) for name in "abc"],
        [f"AD/p{p}_{s}.png" for p in range(5) for s in range(1 + (p == 0))],  # of one id only several
    ],
)
def test_other_names_get_none(paths):
    assert suggest_pattern(paths) is None


def test_ids_that_seldom_repeat_are_suggested_where_few_files_are_enough():
    paths = [f"AD/p{p}_{s}.nii" for p in range(5) for s in range(1 + (p == 0))]
    assert suggest_pattern(paths, least_each=1) == (r"(p\d+)", "p0")
    assert suggest_pattern(paths[1:], least_each=1) is None  # each name is another id


def unlike() -> np.ndarray:
    """Thumbnails of 12 images that say nothing."""
    return np.random.default_rng(0).integers(0, 256, (12, 52, 44), np.uint8)


def test_the_suggestion_works_when_it_is_pasted(tmp_path):
    (tmp_path / "AD").mkdir()
    files = files_of(*(f"AD/patient{p}_{s}.png" for p in range(3) for s in range(4)))
    with pytest.raises(UserError, match="names look like ids that no rule knows") as raised:
        identify(tmp_path, files, "auto", cache_dir=tmp_path, upright=unlike)
    line = str(raised.value)
    pasted = shlex.split(line.split("give ")[1].split("; ")[0])
    (override,) = OverridesParser.create().parse_overrides(pasted)
    assert override.key_or_group == "data.subjects"
    found = identify(tmp_path, files, override.value())
    assert found.subject == [f"patient{p}" for p in range(3) for _ in range(4)]
