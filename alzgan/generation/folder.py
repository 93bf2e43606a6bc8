"""The folder of a set of synthetic images: the files, the identity of the set, and a table."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alzgan.errors import UserError
from alzgan.files import folder_name, locked, read_json, read_table, write_json, write_table
from alzgan.generation.formats import FORMAT_SUFFIXES
from alzgan.generation.order import Item
from alzgan.text import printable

IDENTITY, MANIFEST = "set.json", "manifest.csv"
SET_FILE = re.compile(
    r"[^/]+/(\d{7,}|seed-\d{6,}|synthetic-\d+-person-\d{4,}(/slice-\d{3,})?)(\.png|\.npy|\.nii\.gz)"
)  # paths of a set's files
SET = 1  # version; raise it when the same order would give other files


class SetFolder:
    """The folder of a new or continued set.

    Args:
        path: the folder.
        identity: the settings that all images of the set share.
        classes: names of the class folders.
        form: of the files, see `alzgan.generation.formats`.
        overwrite: replace another set, by removing all files that are named like those of a set.

    Raises:
        UserError: the folder holds something else, or a class cannot name a folder.
    """

    def __init__(
        self,
        path: Path,
        identity: Mapping[str, Any],
        classes: Sequence[str],
        form: str,
        overwrite: bool = False,
    ):
        self.path, self.form = path, form
        self.gives_way = False  # whether another set is replaced
        self.classes = [folder_name(name) for name in classes]
        self.identity = {"version": SET, **identity}
        self.check(overwrite)

    def check(self, overwrite: bool) -> None:
        """Refuse a folder that holds anything but this set, or another set that may be overwritten."""
        # Another process may just be writing the identity, under a scratch name.
        begun = f"{IDENTITY}.*.part"
        there = self.path.exists() and (
            not self.path.is_dir() or any(not path.match(begun) for path in self.path.iterdir())
        )
        if not there:
            return
        found = read_json(self.path / IDENTITY)
        if not isinstance(found, dict):
            raise UserError(f"out={printable(self.path)} holds something else: choose a new folder")
        differences = [
            f"{name} {found.get(name)} there, {value} here"
            for name, value in self.identity.items()
            if found.get(name) != value
        ]
        if differences and not overwrite:
            raise UserError(
                f"out={printable(self.path)} holds another set ({printable('; '.join(differences[:3]))}): "
                "choose another folder, or set overwrite=true"
            )
        self.gives_way = bool(differences)

    def begin(self) -> None:
        """Make the folder, and write the identity of the set."""
        if self.gives_way:
            for path in sorted(self.path.rglob("*")):  # a call that was killed has written no table
                if SET_FILE.fullmatch(path.relative_to(self.path).as_posix()) and path.is_file():
                    path.unlink()
            (self.path / MANIFEST).unlink(missing_ok=True)
            self.gives_way = False
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / IDENTITY, self.identity)

    def name_of(self, item: Item) -> str:
        """The path of an image from the folder."""
        folder = self.classes[item.class_index or 0]
        if item.alone:
            return f"{folder}/seed-{item.seed:06d}{FORMAT_SUFFIXES[self.form]}"
        if item.place and self.form == "nifti":
            return f"{folder}/{person_name(item)}{FORMAT_SUFFIXES[self.form]}"
        if item.place:
            return f"{folder}/{person_name(item)}/slice-{item.place:03d}{FORMAT_SUFFIXES[self.form]}"
        return f"{folder}/{item.number:07d}{FORMAT_SUFFIXES[self.form]}"

    def has(self, item: Item) -> bool:
        """Whether the image exists. A file with its name is always complete."""
        return (self.path / self.name_of(item)).is_file()

    def add_rows(self, header: Sequence[str], rows: Sequence[Mapping[str, object]]) -> int:
        """Add rows to the table, replacing those of the same file; returns the number of rows.

        Several processes may add to one set.
        """
        with locked(self.path, lambda: None):
            there = read_table(self.path / MANIFEST)
            known: dict[str, Mapping[str, object]] = {
                row["file"]: row for row in there if (self.path / row["file"]).is_file()
            }
            for row in rows:  # keep columns of an earlier call, such as the nearest image
                known[str(row["file"])] = {**known.get(str(row["file"]), {}), **row}
            columns = list(dict.fromkeys([*header, *(key for row in known.values() for key in row)]))
            table = [[known[name].get(key, "") for key in columns] for name in sorted(known)]
            write_table(self.path / MANIFEST, columns, table)
        return len(known)


def person_name(item: Item) -> str:
    """The name of an item's person, or of the image itself."""
    if item.place:
        return f"synthetic-{item.seed}-person-{item.number:04d}"
    return f"synthetic-{item.seed}-{item.number:07d}"
