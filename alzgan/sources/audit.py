"""Report what is in an image folder, and whether a model can be trained and evaluated on it.

People and split come from the modules that training uses, so the verdict holds for training.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from alzgan.errors import UserError
from alzgan.files import replacing
from alzgan.images import arrays, decoding
from alzgan.images.folder import ImageFile
from alzgan.images.thumbnails import Thumbnails, shrunk
from alzgan.people.cohort import Cohort, People, named_across, without_masks
from alzgan.people.copies import SEARCHED, Copy, find_copies
from alzgan.people.similarity import MOST_COMPARED, leaks
from alzgan.people.splits import HOLD_OUT_MORE, NEEDED_PEOPLE
from alzgan.people.subjects import LEFT_OUT, PARTS
from alzgan.text import counted, printable

MOSTLY_CONSTANT = 0.25  # a set with this share of constant images cannot be trained on
TWO_NAMES = 0.1  # least share of the images of a person whom train may know under another name
NEAR = 0.98  # a test image whose thumbnail correlates this much with a train image's is a near-duplicate
LISTED = 20  # unreadable files on the terminal; the report lists all
LONG = 3  # aspect ratio above which training would crop or pad most of an image
BITS = {"1": 1, "I": 32, "F": 32}  # of a channel, by Pillow's mode; "I;16..." has 16, any other 8
SHEET_ROWS, SHEET_COLUMNS, SHEET_SIDE, SHEET_LABEL = 24, 10, 96, 16  # classes, images, pixels, pixels


@dataclass(frozen=True)
class Facts:
    """One image: mode and bits a channel as stored, all else as read, in 0..255."""

    file: ImageFile
    mode: str
    bits: int
    sides: tuple[int, int]  # width and height
    digest: str
    lowest: int
    highest: int
    grey: bool  # also if it is stored in colours
    values: int | None  # number of different grey levels, 1 or 2; None: more
    mean: float
    zeros: float


@dataclass(frozen=True)
class Audit:
    """The report and its sources."""

    report: dict[str, Any]  # for JSON; see `audit` for the keys
    files: list[ImageFile]  # the readable images, without masks
    copies: list[Copy]  # pairs of them that show the same image
    people: People | None  # in the images; None if unknown
    is_ready: bool  # for training


def audit(cohort: Cohort) -> Audit:
    """Read a whole image folder and judge it.

    Keys of the report; those about people are None if the people are unknown:

    - `images`: number of readable ones; `ignored_files`: number; `unreadable`: [file, reason] of each.
    - `classes`: images of each; `class_balance`: smallest / largest class; `empty_classes`.
    - `sizes` ("WIDTHxHEIGHT"), `modes`, `bit_depths`: images of each.
    - `grey`: number of images without colour. Images in RGB count too.
    - `intensity`: range and mean in 0..255, share of pixels at 0, constant files.
    - `duplicates`: groups of files with the same pixels. Constant files and those that a table leaves out
      are not counted. `duplicates_in_two_classes`, `duplicates_of_two_subjects`: number of such groups.
    - `copies`: number of pairs, see `alzgan.people.copies`.
    - `subject_rule`; `subjects`: number; `slices_per_subject`; `split`: images and subjects of each part.
    - `named_people_across_splits`: number of people, by the files' names, whom a table puts into several
      parts.
    - `near_duplicates_across_splits`: number of test images that correlate with a train image above `NEAR`;
      None above `MOST_COMPARED` images.
    - `people_near_duplicated`: number of test people of whose images a tenth or more do.
    - `notes`, `verdict`.

    Raises:
        UserError: no image can be read, or a rule other than auto and content does not fit the folder.
    """
    there = cohort.scan()
    cohort.check_table(there)
    facts, unreadable, found = inspect(cohort.folder, there)
    files = [fact.file for fact in facts]
    constant, two_valued = ([fact.file.path for fact in facts if fact.values == n] for n in (1, 2))
    people = refusal = None
    try:
        people = cohort.people(files, constant, two_valued, found)
    except UserError as error:
        if cohort.subjects not in ("auto", "content"):
            raise
        refusal = str(error)
    rows = people.rows if people else without_masks(files, two_valued)
    facts, files, found = [facts[row] for row in rows], [files[row] for row in rows], found.of(rows)
    copies = people.copies if people else find_copies(found.square, files)
    listing = cohort.listing
    report = {
        **describe_images(facts),
        "empty_classes": sorted(set(listing.folders) - {file.label for file in listing.images}),
        "ignored_files": len(listing.others),
        "unreadable": [[printable(path), reason] for path, reason in unreadable],
        **describe_duplicates(facts, people),
        "copies": len(copies),
        **describe_people(people),
        **describe_leaks(found, people),
    }
    report["notes"] = [*(people or listing).notes, *notes_on(report, facts)]
    fault = fault_in(report, cohort.bad_files) or refusal
    report["verdict"] = verdict_on(report, fault)
    return Audit(report, files, copies, people, is_ready=fault is None)


def inspect(root: Path, files: Sequence[ImageFile]) -> tuple[list[Facts], list[tuple[str, str]], Thumbnails]:
    """Read all files: facts and thumbnails of the readable ones, (path, reason) of the others.

    Raises:
        UserError: no file can be read.
    """
    facts: list[Facts] = []
    unreadable: list[tuple[str, str]] = []
    small = Thumbnails.room_for(len(files))
    with decoding.quiet():
        results = decoding.in_threads(lambda file: facts_or_error(root, file), files)
        bar = tqdm(results, "reading", len(files), unit=" images")
        for file, result in zip(files, bar, strict=True):
            if isinstance(result, decoding.BadImage):
                unreadable.append((file.path, result.reason))
            else:
                small.put(len(facts), result[1])
                facts.append(result[0])
    if not facts:
        raise UserError(arrays.unreadable(unreadable, len(files)))
    return facts, unreadable, small.of(slice(len(facts)))


def facts_or_error(
    root: Path, file: ImageFile
) -> tuple[Facts, tuple[np.ndarray, np.ndarray]] | decoding.BadImage:
    try:
        pixels, mode = decoding.decode_image(decoding.read_bytes(root / file.path), root / file.path)
    except decoding.BadImage as error:
        return error
    facts = Facts(
        file,
        mode,
        bits=16 if mode.startswith("I;16") else BITS.get(mode, 8),
        sides=(pixels.shape[1], pixels.shape[0]),
        digest=blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).hexdigest(),
        lowest=int(pixels.min()),
        highest=int(pixels.max()),
        grey=pixels.ndim == 2 or bool((pixels == pixels[..., :1]).all()),
        values=decoding.few_values(pixels),
        mean=float(pixels.mean()),
        zeros=float((pixels == 0).mean()),
    )
    return facts, shrunk(pixels)


def lines(report: dict[str, Any]) -> list[str]:
    """The report as lines for the terminal; the last is the verdict."""
    count, intensity, skipped = report["images"], report["intensity"], report.get("skipped_volumes")
    classes = (f"{printable(name)} {n} ({n / count:.1%})" for name, n in report["classes"].items())
    copies = f"copies, including {'mirrored' if count > MOST_COMPARED else 'near, mirrored and turned'} ones"
    return [
        f"images: {count} in {counted(len(report['classes']), 'class', 'classes')}: {', '.join(classes)}",
        f"width x height: {most_frequent(report['sizes'])}",
        f"modes: {most_frequent(report['modes'])}; bits a channel: {most_frequent(report['bit_depths'])}",
        f"intensity: {intensity['lowest']} to {intensity['highest']}, mean {intensity['mean']:.1f}, "
        f"{intensity['zeros']:.0%} of the pixels 0; constant images: {len(intensity['constant'])}",
        f"unreadable images: {len(report['unreadable'])}; other files: {report['ignored_files']}",
        *listed(report["unreadable"]),
        *([f"volumes and files of volumes left out: {len(skipped)}", *listed(skipped)] if skipped else []),
        f"exact duplicates{aside(report)}: {counted(len(report['duplicates']), 'group')}, "
        f"{report['duplicates_in_two_classes']} of them in two classes; "
        f"{copies}: {counted(report['copies'], 'pair')}",
        *(people_lines(report) if report["split"] else ["subjects: unknown"]),
        *(f"note: {note}" for note in report["notes"]),
        f"verdict: {report['verdict']}",
    ]


def listed(bad: Sequence[tuple[str, str]]) -> list[str]:
    """The first files and what is wrong with them."""
    return [f"  {path}: {reason}" for path, reason in bad[:LISTED]] + ["  ..."] * (len(bad) > LISTED)


def contact_sheet(root: Path | str, files: Sequence[ImageFile], path: Path | str) -> None:
    """Write a PNG with a row for each of the first 24 classes: 10 images spread evenly over its files.

    Raises:
        BadImage: a file cannot be read.
    """
    by_class: dict[str, list[ImageFile]] = defaultdict(list)
    for file in files:
        by_class[file.label or "(unknown)"].append(file)
    rows = sorted(by_class.items())[:SHEET_ROWS]
    height = SHEET_SIDE + SHEET_LABEL
    sheet = Image.new("RGB", (SHEET_COLUMNS * SHEET_SIDE, len(rows) * height))
    draw = ImageDraw.Draw(sheet)
    for row, (label, members) in enumerate(rows):
        # Pillow's built-in font may lack other letters.
        name = printable(label).encode("ascii", "backslashreplace").decode()
        draw.text((2, row * height + 2), f"{name}, {len(members)} images", fill="white")
        places = np.linspace(0, len(members) - 1, min(SHEET_COLUMNS, len(members))).round().astype(int)
        for column, place in enumerate(places):
            pixels = decoding.read_image(Path(root) / members[place].path)
            image = Image.fromarray(decoding.resize(pixels, SHEET_SIDE, 3, "pad"))
            sheet.paste(image, (column * SHEET_SIDE, row * height + SHEET_LABEL))
    with replacing(Path(path)) as part:
        sheet.save(part, format="PNG")


def people_lines(report: dict[str, Any]) -> list[str]:
    slices, split = report["slices_per_subject"], report["split"]
    spread = f"{slices['lowest']} to {slices['highest']} slices each, median {slices['median']:g}"
    if slices["lowest"] == slices["highest"]:
        spread = f"{counted(slices['lowest'], 'slice')} each"
    return [
        f"subjects: {report['subjects']} by {printable(report['subject_rule'])}, {spread}",
        *(
            f"{part}: {counted(n['images'], 'image')} of {counted(n['subjects'], 'subject')}"
            for part, n in split.items()
        ),
        f"near-duplicates{aside(report)}: {leak_line(report)}",
    ]


def aside(report: dict[str, Any]) -> str:
    """A remark that constant images do not count as duplicates, if there are any."""
    return " (constant images aside)" if report["intensity"]["constant"] else ""


def leak_line(report: dict[str, Any]) -> str:
    leaks = report["near_duplicates_across_splits"]
    if report["images"] > MOST_COMPARED:
        return f"not looked for: there are more than {MOST_COMPARED} images"
    test = counted(report["split"]["test"]["images"], "test image")
    return f"{leaks} of {test} {'has' if leaks == 1 else 'have'} a train image correlated above {NEAR}"


def most_frequent(numbers: dict[str, int]) -> str:
    """The five most frequent names with their counts, on one line."""
    shown = [f"{name} ({count})" for name, count in list(numbers.items())[:5]]
    return ", ".join(shown + [f"and {len(numbers) - 5} more"] * (len(numbers) > 5))


def describe_images(facts: Sequence[Facts]) -> dict[str, Any]:
    classes = Counter(fact.file.label or "(unknown)" for fact in facts)
    return {
        "images": len(facts),
        "classes": dict(sorted(classes.items())),
        "class_balance": min(classes.values()) / max(classes.values()),
        "sizes": dict(Counter(f"{fact.sides[0]}x{fact.sides[1]}" for fact in facts).most_common()),
        "modes": dict(Counter(fact.mode for fact in facts).most_common()),
        "grey": sum(fact.grey for fact in facts),
        "bit_depths": dict(Counter(str(fact.bits) for fact in facts).most_common()),
        "intensity": {
            "lowest": min(fact.lowest for fact in facts),
            "highest": max(fact.highest for fact in facts),
            "mean": float(np.mean([fact.mean for fact in facts])),
            "zeros": float(np.mean([fact.zeros for fact in facts])),
            "constant": [fact.file.path for fact in facts if fact.lowest == fact.highest],
        },
    }


def describe_duplicates(facts: Sequence[Facts], people: People | None) -> dict[str, Any]:
    names = people.subjects.subject if people else [None] * len(facts)
    parts = people.split.parts if people else [None] * len(facts)
    same: dict[str, list[tuple[ImageFile, str | None]]] = defaultdict(list)
    for fact, name, part in zip(facts, names, parts, strict=True):
        # All constant slices are the same, whoever they show.
        if fact.lowest < fact.highest and part != LEFT_OUT:
            same[fact.digest].append((fact.file, name))
    groups = [group for group in same.values() if len(group) > 1]
    of_two = sum(len({name for _, name in group}) > 1 for group in groups)
    return {
        "duplicates": [[file.path for file, _ in group] for group in groups],
        "duplicates_in_two_classes": sum(len({file.label for file, _ in group}) > 1 for group in groups),
        "duplicates_of_two_subjects": of_two if people and people.subjects.rule != "none" else None,
    }


def describe_people(people: People | None) -> dict[str, Any]:
    if people is None:
        keys = ("subject_rule", "subjects", "slices_per_subject", "split", "named_people_across_splits")
        return dict.fromkeys(keys)
    subject, parts = people.subjects.subject, people.split.parts
    slices = Counter(subject).values()
    persons = Counter(part for _, part in set(zip(subject, parts, strict=True)))
    return {
        "subject_rule": people.subjects.rule,
        "subjects": len(slices),
        "slices_per_subject": {"lowest": min(slices), "median": median(slices), "highest": max(slices)},
        "split": {part: {"images": parts.count(part), "subjects": persons[part]} for part in PARTS},
        "named_people_across_splits": len(named_across(people.subjects, parts)),
    }


def describe_leaks(found: Thumbnails, people: People | None) -> dict[str, Any]:
    if people is None or len(found.upright) > MOST_COMPARED:
        return dict.fromkeys(("near_duplicates_across_splits", "people_near_duplicated"))
    near, subject = leaks(found.upright, people.split.parts, NEAR), people.subjects.subject
    count, images = Counter(subject[index] for index in near), Counter(subject)
    return {
        "near_duplicates_across_splits": len(near),
        "people_near_duplicated": sum(n >= TWO_NAMES * images[person] for person, n in count.items()),
    }


def notes_on(report: dict[str, Any], facts: Sequence[Facts]) -> list[str]:
    """Notes that do not change the verdict."""
    notes = []
    if report["images"] > MOST_COMPARED:
        notes.append(f"of more than {MOST_COMPARED} images, only copies with equal thumbnails are found")
    if report["images"] > SEARCHED:
        notes.append(f"of more than {SEARCHED} images, turned or otherwise altered copies are not looked for")
    if report["near_duplicates_across_splits"] and not report["people_near_duplicated"]:
        notes.append(
            "the near-duplicates may be two people's: they are less than a tenth of any person's images"
        )
    split = report["split"]
    if split and (out := report["images"] - sum(part["images"] for part in split.values())):
        notes.append(f"{counted(out, 'image')} left out by the column split")
    if len(report["sizes"]) > 1:
        notes.append("images of several sizes: training resizes each to one square, see data.fit")
    if long := [fact for fact in facts if max(fact.sides) > LONG * min(fact.sides)]:
        width, height = long[0].sides
        notes.append(
            f"{counted(len(long), 'image')} with one side more than {LONG} times the other, the first is "
            f"{printable(long[0].file.path)} ({width}x{height}): training crops or pads to a square"
        )
    return notes


def verdict_on(report: dict[str, Any], fault: str | None) -> str:
    """One line: the most serious finding and what to do about it, or that there is none."""
    if fault:
        return f"not ready to train: {fault}"
    word = f"according to data.subjects={printable(report['subject_rule'])}"
    if harm := harm_in(report):
        return f"ready to train, not safe to evaluate, {word}: {harm}"
    kept_apart = "person, copy or near-duplicate"
    if report["near_duplicates_across_splits"] != 0:  # or None: not looked for
        kept_apart = "person" if report["images"] > MOST_COMPARED else "person or copy"
    return (
        f"ready to train: {counted(report['images'], 'image')} of "
        f"{counted(report['subjects'], 'person', 'people')} in "
        f"{counted(len(report['classes']), 'class', 'classes')}, {word}; "
        f"no {kept_apart} on both sides of the split{aside(report)}"
    )


def fault_in(report: dict[str, Any], bad_files: str) -> str | None:
    """Why the folder cannot be trained on, if it cannot."""
    if (bad := report["unreadable"]) and bad_files == "error":
        return arrays.unreadable(bad, report["images"] + len(bad))
    constant = report["intensity"]["constant"]
    if len(constant) >= MOSTLY_CONSTANT * report["images"]:
        return (
            f"{len(constant)} of {counted(report['images'], 'image')} "
            f"{'is' if len(constant) == 1 else 'are'} of one constant value, the first is "
            f"{printable(constant[0])}: remove them"
        )
    if report["split"] and not report["split"]["train"]["images"]:
        return "the train part is empty: give more people, or other split fractions"
    return None


def harm_in(report: dict[str, Any]) -> str | None:
    """Why a score on the test part would mean little, if so."""
    if not report["split"]["test"]["images"]:
        return "the test part is empty: give more people, or other split fractions"
    if several := report["named_people_across_splits"]:
        return (
            f"the table splits {counted(several, 'person', 'people')} of the files' names across the parts: "
            "give each one subject, unless the names are misleading"
        )
    kinds = (("in two classes", "duplicates_in_two_classes"), ("of two people", "duplicates_of_two_subjects"))
    if found := [f"{kind} {counted(report[key], 'time')}" for kind, key in kinds if report[key]]:
        return (
            f"the same image is there {' and '.join(found)}: train on the manifest, which leaves copies out"
        )
    if report["people_near_duplicated"]:
        if report["subject_rule"] == "none":
            return (
                f"{leak_line(report)}, as slices of one person have; only names "
                "(data.subjects=regex:PATTERN) or a table (csv:FILE) can tell people apart here"
            )
        return f"{leak_line(report)}: one person may be there under two names"
    held_out = sum(report["split"][part]["subjects"] for part in PARTS if part != "train")
    if held_out < NEEDED_PEOPLE:
        people = counted(held_out, "person", "people")
        return f"{people} held out, alzgan.evaluate needs {NEEDED_PEOPLE}: {HOLD_OUT_MORE}"
    return None
