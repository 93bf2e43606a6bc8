"""A rule names the person of every file, or is refused in one line."""

import os
import random
import re
from unicodedata import normalize

import pytest
from PIL import Image

from alzgan.errors import UserError
from alzgan.images.folder import ImageFile, scan
from alzgan.people import subjects
from alzgan.people.cohort import Cohort
from alzgan.people.splits import write_split
from alzgan.people.subjects import identify, kaggle4, nobody
from alzgan.sources.phantom import write_phantom


def image_files(*paths):
    return [ImageFile(path, path.partition("/")[0]) for path in paths]


def kaggle_names(people, prefix="mildDem", test_26=(2, 3)):
    """{file name: (person, slice)} as the makers of the set must have named it: sorted, then cut in two."""
    test, train = {}, []
    for place in range(1, 33):
        full = {f"{place} ({p}).jpg" if p > 1 else f"{place}.jpg": p for p in range(1, people + 1)}
        for name in sorted(full):
            key = (full[name], place)
            if place > 26 or (place == 26 and full[name] in test_26):
                test[name] = key
            else:
                train.append(key)
    return test | {f"{prefix}{i}.jpg": key for i, key in enumerate(train)}


@pytest.fixture
def table(tmp_path):
    """Write a CSV beside two images and identify them by it."""
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.png"):
        (tmp_path / "a" / name).write_bytes(b"")

    def read(text):
        content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        (tmp_path / "people.csv").write_bytes(content)
        return identify(tmp_path, image_files("a/1.png", "a/2.png"), "csv:people.csv")

    return read


@pytest.mark.parametrize("people", [1, 2, 11, 103])
def test_kaggle4_undoes_the_naming(people):
    names = kaggle_names(people)
    paths = [f"Mild/{name}" for name in names]
    random.Random(0).shuffle(paths)
    found = kaggle4(image_files(*paths))
    truth = [names[path.removeprefix("Mild/")] for path in paths]
    assert found.subject == [f"Mild-{person:03d}" for person, _ in truth]
    assert found.slice == [place for _, place in truth]


@pytest.mark.parametrize(
    "stray", ["25.jpg", "33 (2).jpg", "27 (02).jpg", "mildDem.jpg", "scan.jpg", "mildDem1 (2).jpg"]
)
def test_kaggle4_refuses_a_file_that_does_not_fit_and_names_it(stray):
    paths = [f"Mild/{name}" for name in kaggle_names(5)]
    with pytest.raises(UserError, match="kaggle4: ") as error:
        kaggle4(image_files(*paths, f"Mild/{stray}"))
    assert stray in str(error.value)


@pytest.mark.parametrize("missing", ["26 (2).jpg", "mildDem127.jpg"])
def test_kaggle4_refuses_a_set_it_cannot_count_through(missing):
    names = kaggle_names(5)
    assert missing in names
    del names[missing]
    with pytest.raises(UserError, match="class Mild is not the whole of one class"):
        kaggle4(image_files(*(f"Mild/{name}" for name in names)))


def test_kaggle4_refuses_two_files_for_one_slice():
    names = [f"Mild/{name}" for name in kaggle_names(5)]
    with pytest.raises(UserError, match="2 files for Mild-001 slice 30"):
        kaggle4(image_files(*names, "Mild/30 (1).jpg"))


def test_kaggle4_does_not_mind_a_gap_or_another_format():
    names = kaggle_names(5)
    truth = names.pop("mildDem7.jpg")
    found = kaggle4(image_files(*(f"Mild/{name.replace('jpg', 'png')}" for name in names)))
    assert list(zip(found.subject, found.slice, strict=True)) == [
        (f"Mild-{p:03d}", s) for p, s in names.values()
    ]
    assert truth not in names.values()


def test_kaggle4_on_the_real_slices_is_200_people_of_32():
    root = os.environ.get("ALZGAN_MRI_ROOT")
    if not root:
        pytest.skip("ALZGAN_MRI_ROOT, the folder of the 6,400 real slices, is not set")
    found = identify(root, scan(root))
    assert found.rule == "kaggle4"
    pairs = set(zip(found.subject, found.slice, strict=True))
    assert pairs == {(subject, place) for subject in set(found.subject) for place in range(1, 33)}
    assert len(pairs) == 6400


def test_regex_reads_subject_and_slice_from_the_path():
    files = image_files("a/p7/z_03.png", "b/p12/z_11.png")
    found = identify(".", files, r"regex:/(?P<subject>p\d+)/z_(?P<slice>\d+)")
    assert (found.subject, found.slice) == (["p7", "p12"], [3, 11])
    newline = identify(".", image_files("a\n/p7.png"), r"regex:^a.*/(p\d+)")
    assert newline.subject == ["p7"]
    first_group = identify(".", files, r"regex:^\w/(p\d+)")
    assert (first_group.subject, first_group.slice) == (["p7", "p12"], [None, None])


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("regex:(p[12])", "does not fit 1 of 3 files, the first is a/p3.png"),
        ("regex:p", "has no group"),
        ("regex:(p", "is not a regular expression"),
        ("regex:(?P<subject>p)(?P<slice>..)", "is not a whole number"),
        ("regex", "unknown rule"),
        ("csv", "unknown rule"),
        ("kaggle", "unknown rule data.subjects=kaggle: give auto, kaggle4"),
        ("csv:nowhere.csv", "there is no table nowhere.csv"),
        ("bids", "does not fit 3 of 3 files"),
    ],
)
def test_a_rule_that_cannot_be_applied_is_one_line(rule, line):
    with pytest.raises(UserError) as error:
        identify(".", image_files("a/p1.png", "a/p2.png", "a/p3.png"), rule)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_bids_names_are_read():
    files = image_files("AD/sub-03_T1w_slice-07.png", "AD/sub-X1/ses-2/slice-12.png", "AD/sub-9.png")
    found = identify(".", files, "bids")
    assert (found.subject, found.slice) == (["sub-03", "sub-X1", "sub-9"], [7, 12, None])


def test_none_makes_each_image_a_person_and_says_so():
    found = nobody(image_files("a/1.png", "a/2.png"))
    assert found.subject == ["a/1.png", "a/2.png"]
    assert "each image counts as a person" in found.notes[0]


def test_a_table_gives_subject_slice_and_split(table):
    found = table("\ufefffile,class,subject,slice,split\r\n./a/2.png,x,Bo,,test\r\na/1.png,x,Al,-4,train\r\n")
    assert (found.subject, found.slice, found.split) == (["Al", "Bo"], [-4, None], ["train", "test"])
    assert found.rule == "csv:people.csv"


def test_a_table_without_slice_and_split_leaves_them_open(table):
    found = table("subject,file\nAl,a/1.png\nBo,a/2.png\n")
    assert (found.subject, found.slice, found.split) == (["Al", "Bo"], [None, None], [None, None])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("file,person\na/1.png,Al\n", "has no column subject; its columns are: file, person"),
        ("", "has no column file; its columns are: none; it needs the columns file and subject: rename"),
        ("file name;subject\na/1.png;A\n", "columns are: file name, subject; it needs the columns file and"),
        ("file,subject\n2.png,A\n", "there is no 2.png in "),
        ("file,subject\n2.png,A\n", "; give the path from data.root, such as a/2.png"),
        ("file,subject\nb\\2.png,A\n", "; give the path from data.root, such as a/2.png"),
        (
            "file,subject\n\udcff/2.png,A\n",
            "save the table, which is not UTF-8, as UTF-8",
        ),
        ("file,subject\na/1.png,A\na/1.png,A\n", "line 3: a/1.png is there twice"),
        ("file,subject\na/1.png,A\n./a/1.png,A\n", "line 3: a/1.png is there twice"),
        ("file,subject\na/1.png,A\na/3.png,A\n", "line 3: there is no a/3.png"),
        ("file,subject\na/1.png,A\n", "the first is a/2.png; add the rows, or leave the files out with"),
        ("file,subject\na/1.png,\n", "line 2: no subject for a/1.png"),
        ("file,subject\na/1.png\n", "line 2: no subject for a/1.png"),
        ("file,subject\n/etc/passwd,A\n", "line 2: /etc/passwd leaves the root"),
        ("file,subject\na/../../1.png,A\n", "line 2: a/../../1.png leaves the root"),
        ("file,subject\n" + "a" * 5000 + ",A\n", "line 2: there is no aaa"),
        ("file,subject,slice\na/1.png,A,1.5\na/2.png,A,2\n", "slice 1.5 of a/1.png is not a whole number"),
        (
            "file,subject,split\na/1.png,A,val\na/2.png,A,val\n",
            "split 'val' of a/1.png is none of train, validation, test",
        ),
        ("file,subject,split\na/1.png,A,train\na/2.png,B,\n", "split '' of a/2.png is none of"),
        ("file,subject,split\na/1.png,A,train\na/2.png,A,test\n", "subject A is in train and in test"),
        ('file,subject\n"a/1.png,A\n', "is not CSV"),
        ("file,subject\na/\udcff\n.png,A\n", "line 2: there is no a/\\udcff in"),
        ("file,subject\na/\udcff.png,A\n", "save the table, which is not UTF-8, as UTF-8"),
        ("file,subject\nC:\\a\\1.png,A\n", r"line 2: C:\a\1.png leaves the root"),
        ("file,subject\n..\\a\\1.png,A\n", r"line 2: ..\a\1.png leaves the root"),
        ("file,subject\na/1.png,A\na\\1.png,A\n", "line 3: a/1.png is there twice"),
        ("file;Subject; SUBJECT\na/1.png;A;B\n", "has two columns subject"),
        ("file;person\na/1.png;A\n", "has no column subject; its columns are: file, person"),
        ("file,subject\na/1.png,  \n", "line 2: no subject for a/1.png"),
        ("file,subject\na/1.png,A\n".encode("utf-16-le"), "neither UTF-8 nor UTF-16 with a byte-order mark"),
        ("\ufefffile,subject".encode("utf-16-be")[:-1], "is damaged UTF-16 (truncated data): save it again"),
        (b"PK\x03\x04\x14\0\x06\0", "is a spreadsheet, whatever its name: save it as CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a spreadsheet, whatever its name: save it as CSV"),
        pytest.param(b"x" * 200_000, "is not CSV: field larger than field limit", id="no end of line"),
        ("file,subject,split\na/1.png,7,train\na/2.png, 7 ,test\n", "subject 7 is in train and in test"),
    ],
)
def test_a_wrong_table_is_one_line_that_says_where(table, text, line):
    with pytest.raises(UserError) as error:
        table(text)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        b"file;subject;slice\na/1.png;7;3\na/2.png;8;4\n",
        b"file\tsubject\tslice\r\na/1.png\t7\t3\r\na/2.png\t8\t4\r\n",
        "\ufefffile\tsubject\tslice\na/1.png\t7\t3\na/2.png\t8\t4\n".encode("utf-16-le"),
        "\ufefffile,subject,slice\na/1.png,7,3\na/2.png,8,4\n".encode("utf-16-be"),
        b'\xef\xbb\xbf"File","Subject","slice"\n"a/1.png",7,3\na/2.png,8,4\n',
        b" File ; SUBJECT;Slice \n a/1.png ; 7; 3 \na/2.png;8 ;4;;\n;;\n",
        b"file,subject,slice,Subject,a;b;c;d;e;f\na/1.png,7,3,x,y\n.\\a\\2.png,8,4,,\n",
        b"file,subject,slice\ra\\1.png,7,3\ra\\2.png,\xc2\xa08,4\r",
    ],
)
def test_a_table_is_read_as_spreadsheets_save_it(table, content):
    found = table(content)
    assert (found.subject, found.slice) == (["7", "8"], [3, 4])


def test_other_columns_keep_their_names_without_spaces(table):
    found = table("file; Subject; Age ;score,x;\na/1.png;7; 71 ;1;9\na/2.png;8;65;2;9\n")
    assert found.columns == {"Age": ["71", "65"], "score,x": ["1", "2"]}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_are_found_in_either_form_but_to_the_letter_first(tmp_path, form):
    names = [normalize(form, "é.png"), " 1.png", "1.png", "b\\1.png", "\udcff.png"]
    other = normalize("NFD" if form == "NFC" else "NFC", "é.png")
    for name in [*names, normalize(form, "ü.png")]:
        (tmp_path / name).write_bytes(b"")
    rows = [f"{name},{number}\n" for number, name in enumerate([other, *names[1:], " ü.png"])]
    text = "".join(["file,subject\n", *rows])
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert identify(tmp_path, image_files(*names), "csv:t.csv").subject == list("01234")


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("7", "007"),
        ("7", "7.0"),
        ("7", "7,00"),
        ("S7", "s7"),
        ("sub-07", "sub-7"),
        ("A_1", "a 01"),
        ("\uff37\uff17", "W7"),  # of full width
    ],
)
def test_ids_of_a_table_that_differ_in_spelling_alone_are_refused(table, one, two):
    line = (
        f"1 person is spelled in several ways, for example {one} and {two}: write one spelling into the table"
    )
    with pytest.raises(UserError, match=f"^data.subjects=csv:people.csv: {re.escape(line)}") as error:
        table(f'file,subject\na/1.png,"{one}"\na/2.png,"{two}"\n')
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("one", "two"), [("7", " 7 "), ("s 7", "s 7\t"), ("\u00a07", "7")])
def test_spaces_around_an_id_make_no_other_person(table, one, two):
    assert table(f"file,subject\na/1.png,{one}\na/2.png,{two}\n").subject == [two.strip()] * 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("7", "70"),
        ("17", "1007"),
        ("1_23", "12_3"),
        ("1.2.0", "1.2"),
        ("1.05", "1.5"),
        ("S7", "T7"),
        ("a0b", "ab"),
    ],
)
def test_ids_that_differ_in_more_are_two_people(table, one, two):
    assert table(f"file,subject\na/1.png,{one}\na/2.png,{two}\n").subject == [one, two]


@pytest.mark.parametrize(
    ("rule", "paths", "said"),
    [
        ("regex:/([^/_]+)_", ("a/S7_1.png", "b/s7_2.png", "b/S8_1.png"), "1 person is .* S7 and s7: rename"),
        (
            r"regex:(\d+)/",
            ("7/1.png", "007/1.png", "8/1.png", "08/1.png"),
            "2 people are .* 7 and 007: rename",
        ),
        (
            "bids",
            ("a/sub-07.png", "a/sub-7.png"),
            "sub-07 and sub-7: rename the files, or name the people in",
        ),
        ("auto", ("a/sub-07.png", "a/sub-7.png"), "data.subjects=bids: 1 person is .* sub-07 and sub-7"),
        ("tcga", ("TCGA-CS-4941.png", "TCGA_CS_4941.png"), "TCGA-CS-4941 and TCGA_CS_4941"),
    ],
)
def test_names_that_spell_one_person_in_several_ways_are_refused(tmp_path, rule, paths, said):
    with pytest.raises(UserError, match=said):
        identify(tmp_path, image_files(*paths), rule)


def test_a_pattern_may_take_spaces_along(tmp_path):
    assert identify(tmp_path, image_files("7 _1.png", "7_2.png"), "regex:^([^_]+)_").subject == ["7", "7"]


def test_images_on_their_own_may_have_names_that_are_alike(tmp_path):
    files = image_files("a/1.png", "a/01.png", "A/1.png", " 1.png", "1.png")
    for file in files:
        (tmp_path / file.path).parent.mkdir(exist_ok=True)
        (tmp_path / file.path).write_bytes(b"")
    found = identify(tmp_path, files, "none")
    write_split(tmp_path / "split.csv", files, found, ["train", "test", "train", "train", "test"])
    assert identify(tmp_path, files).subject == [file.path for file in files]


def test_a_table_may_know_files_that_were_skipped_as_unreadable(tmp_path):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "people.csv").write_text("file,subject\n1.png,Al\n2.png,Bo\n")
    assert identify(tmp_path, image_files("2.png"), "csv:people.csv").subject == ["Bo"]


def test_a_table_in_the_current_folder_comes_before_one_in_the_root(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (root / "1.png").write_bytes(b"")
    (root / "t.csv").write_text("file,subject\n1.png,root\n")
    monkeypatch.chdir(tmp_path)
    assert identify(root, image_files("1.png"), "csv:t.csv").subject == ["root"]
    (tmp_path / "t.csv").write_text("file,subject\n1.png,here\n")
    assert identify(root, image_files("1.png"), "csv:t.csv").subject == ["here"]


def test_auto_takes_the_table_then_the_names_then_the_images(tmp_path):
    root = tmp_path / "brains"
    write_phantom(root, people=12, slices=6, size=64)
    assert identify(root, scan(root)).rule.endswith("manifest.csv")
    (root / "manifest.csv").unlink()
    by_name = identify(root, scan(root))
    assert by_name.rule == "bids"
    for number, file in enumerate(scan(root)):
        path = root / file.path
        path.rename(path.with_name(f"{number:04d}.png"))
    by_content = identify(root, scan(root))
    assert by_content.rule == "content"
    assert len(set(by_content.subject)) == 12
    assert len(set(zip(by_content.subject, by_name.subject, strict=True))) == 12
    assert sorted(by_content.slice) == sorted(by_name.slice)
    assert "12 people" in by_content.notes[0]


def test_auto_that_finds_nothing_lists_the_choices(tmp_path):
    (tmp_path / "a").mkdir()
    for number in range(4):
        Image.effect_noise((64, 64), 60).save(tmp_path / "a" / f"{number}.png")
    with pytest.raises(UserError) as error:
        identify(tmp_path, scan(tmp_path))
    for choice in ("csv:FILE", "regex:PATTERN", "none"):
        assert choice in str(error.value)
    assert "\n" not in str(error.value)


def test_content_is_refused_for_more_images_than_it_can_compare(tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "MOST_COMPARED", 3)
    files = [ImageFile(f"A/{number}.png", "A") for number in range(4)]  # not read
    with pytest.raises(UserError, match=r"takes 3 images at most, not 4; give data.subjects=csv:FILE"):
        identify(tmp_path, files, "content", tmp_path / "cache")


def test_too_many_for_content_are_refused_before_one_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(subjects, "MOST_COMPARED", 3)
    (tmp_path / "A").mkdir()
    for number in range(4):
        (tmp_path / f"A/{number}.png").touch()  # no images
    with pytest.raises(UserError, match="takes 3 images at most, not 4"):
        Cohort(tmp_path, "content").scan()


def test_what_content_recovered_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    root, cache = tmp_path / "brains", tmp_path / "cache"
    write_phantom(root, people=12, slices=6, size=64)
    (root / "manifest.csv").unlink()
    files = scan(root)
    found = identify(root, files, "content", cache)
    with monkeypatch.context() as patch:
        patch.setattr("alzgan.people.subjects.thumbnails", lambda *_: pytest.fail("an image was read again"))
        assert identify(root, files, "content", cache) == found
    (kept,) = cache.iterdir()
    for damage in (b"", b"{}", b'{"subject": ["p"], "slice": [1], "notes": []}'):
        kept.write_bytes(damage)
        assert identify(root, files, "content", cache) == found
    os.utime(root / files[0].path, (0, 0))
    assert identify(root, files, "content", cache) == found
    assert len(list(cache.iterdir())) == 2
