"""A slice's neighbours, of the same person and in order."""

import random

import pytest

from alzgan.data.stacks import neighbouring_slices
from alzgan.errors import UserError
from alzgan.images.folder import ImageFile
from alzgan.people.subjects import Subjects, nobody


def people(*pairs: tuple[str, int | None]) -> tuple[list[ImageFile], Subjects]:
    files = [ImageFile(f"a/{index}.png", "a") for index in range(len(pairs))]
    subject, place = (list(column) for column in zip(*pairs, strict=True))
    return files, Subjects("csv:x", subject, place, [None] * len(pairs))


def test_neighbours_are_the_next_slices_and_ends_are_repeated():
    files, subjects = people(("p", 1), ("p", 2), ("p", 3), ("q", 8), ("q", 9))
    assert neighbouring_slices(files, subjects, 3).tolist() == [
        [0, 0, 1],
        [0, 1, 2],
        [1, 2, 2],
        [3, 3, 4],
        [3, 4, 4],
    ]
    assert neighbouring_slices(files, subjects, 5)[[0, 4]].tolist() == [[0, 0, 0, 1, 2], [3, 3, 4, 4, 4]]


def test_the_order_of_the_files_does_not_matter():
    pairs = [(person, place) for person in "pqr" for place in (-2, 0, 1, 5, 6)]
    random.Random(0).shuffle(pairs)
    files, subjects = people(*pairs)
    for index, stack in enumerate(neighbouring_slices(files, subjects, 5)):
        assert stack[2] == index
        assert {pairs[i][0] for i in stack} == {pairs[index][0]}
        places = [pairs[i][1] for i in stack]
        assert places == sorted(places)
        assert pairs[index][1] != 1 or places == [-2, 0, 1, 5, 6]


@pytest.mark.parametrize(
    ("pairs", "line"),
    [
        ((("p", 1), ("p", None)), "data.subjects=csv:x gives a/1.png none"),
        ((("p", 1), ("q", 4), ("q", 4)), "a/1.png and a/2.png are both slice 4 of q"),
    ],
)
def test_slices_without_one_order_are_refused_in_one_line(pairs, line):
    with pytest.raises(UserError) as error:
        neighbouring_slices(*people(*pairs), 3)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_split_leaves_out_is_nobodys_neighbour():
    files, subjects = people(("p", 1), ("p", 2), ("p", 2), ("p", 3))
    parts = ["train", "left out", "train", "train"]
    assert neighbouring_slices(files, subjects, 3, parts).tolist() == [
        [0, 0, 2],
        [1, 1, 1],
        [0, 2, 3],
        [2, 3, 3],
    ]


def test_unknown_people_have_no_neighbours():
    files, _ = people(("p", 1))
    with pytest.raises(UserError, match=r"data\.subjects=none does not"):
        neighbouring_slices(files, nobody(files), 3)
