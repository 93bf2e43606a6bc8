"""What three ways to split a folder leak: test images that have a near-duplicate in train.

    python tests/benchmarks/splits.py FOLDER

The folder is the Kaggle 4-class Alzheimer set. A near-duplicate is a train image whose thumbnail correlates
above 0.98 with the test image's: on this set only slices of one person do.
"""

import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from alzgan.images.folder import ImageFile, scan
from alzgan.images.thumbnails import thumbnails
from alzgan.people.similarity import leaks
from alzgan.people.splits import split_by_subject
from alzgan.people.subjects import kaggle4, nobody
from alzgan.sources.audit import NEAR

FRACTIONS = (0.8, 0.0, 0.2)  # Kaggle's own are 0.8 and 0.2 too


def splits(files: Sequence[ImageFile]) -> dict[str, list[str]]:
    """The part of each file under each way to split."""
    labels = [file.label for file in files]
    return {
        # The names of the train folder count (nonDem0), those of the test folder give the slice (26 (19)).
        "Kaggle's own, by slice position": [
            "train" if "Dem" in PurePosixPath(file.path).stem else "test" for file in files
        ],
        "random by image": split_by_subject(labels, nobody(files).subject, FRACTIONS).parts,
        "by person": split_by_subject(labels, kaggle4(files).subject, FRACTIONS).parts,
    }


def main() -> None:
    """Print a line for each way to split."""
    root = sys.argv[1]
    files = scan(root)
    thumbs, people = thumbnails(root, files).upright, kaggle4(files).subject
    for name, parts in splits(files).items():
        test = parts.count("test")
        sides = {
            part: {who for who, p in zip(people, parts, strict=True) if p == part} for part in set(parts)
        }
        near, shared = len(leaks(thumbs, parts, NEAR)), len(sides["train"] & sides["test"])
        print(
            f"{name}: {near} of {test} test images ({near / test:.1%}) have a train image above {NEAR}; "
            f"{shared} of {len(sides['test'])} people of test are in train"
        )


if __name__ == "__main__":
    main()
