"""A folder of slices as the settings read it: which images, who is in them, and who is held out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from alzgan.errors import UserError, one_of, seed_of_streams
from alzgan.images.folder import ImageFile, scan
from alzgan.people.splits import Split, make_split, part_shares
from alzgan.people.subjects import Subjects, identify


@dataclass(frozen=True)
class Cohort:
    """What preparation and training have in common.

    Raises:
        SettingError: a value is out of its range.
        UserError: `root` is not set, or the fractions are none.
    """

    root: str | Path | None
    subjects: str = "auto"  # the rule, see `alzgan.people.subjects.identify`
    bad_files: str = "error"  # at the first unreadable image, or "skip" and list them
    fractions: Sequence[float] = (0.8, 0.1, 0.1)  # of the people in train, validation and test
    split_seed: int = 0
    cache_dir: str | Path | None = None  # see `alzgan.files.cache_folder`

    def __post_init__(self):
        if not self.root:
            raise UserError(
                "data.root is not set; add data.root=DIR, a folder with a subfolder for each class"
            )
        one_of(("error", "skip"), bad_files=self.bad_files)
        seed_of_streams(split_seed=self.split_seed)
        part_shares(self.fractions)

    @property
    def folder(self) -> Path:
        """The root as a path."""
        return Path(self.root).expanduser()

    def scan(self) -> list[ImageFile]:
        """The images, by names alone."""
        return scan(self.folder)

    def identify(self, files: Sequence[ImageFile]) -> Subjects:
        """Who is in the images that can be read."""
        return identify(self.folder, files, self.subjects, self.cache_dir)

    def split(self, files: Sequence[ImageFile], subjects: Subjects) -> Split:
        """Who is held out."""
        return make_split([file.label for file in files], subjects, self.fractions, self.split_seed)
