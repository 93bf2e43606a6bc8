"""How the file names of public datasets name a person, and a pattern for unknown names.

All visits and scans of a person count as one person. A rule is searched in the path from the root, so it
reads download trees and renamed files; group "subject" is the person, "slice" the number of a slice.
"""

import re
from collections.abc import Sequence
from unicodedata import normalize

SLICE = r"(?:.*[/_]slice-(?P<slice>\d+))?"  # alzgan.prepare appends it to the name of a volume
RULES = {  # the pattern of each dataset, below the document that defines its names
    # Brain Imaging Data Structure 1.9, section "Entities"; also with ses-LABEL.
    "bids": r"(?:^|[/_ ])(?P<subject>sub-[A-Za-z0-9]+)" + SLICE,
    # Alzheimer's Disease Neuroimaging Initiative, adni.loni.usc.edu: site_S_roster number.
    "adni": r"(?<!\d)(?P<subject>\d{3}_S_\d{4,5})(?!\d)" + SLICE,
    # oasis-brains.org: OASIS-1 and 2 (OAS1_0028_MR1), OASIS-3 and 4 (OAS30001_MR_d0129).
    "oasis": r"(?P<subject>OAS[12]_\d{4}|OAS[34]\d{4})(?!\d)"
    r"(?:.*(?:[/_]slice-|_mpr-\d_(?:anon_)?)(?P<slice>\d+)(?=\D*$))?",
    # brain-development.org: IXI012-HH-1211-T1.
    "ixi": r"(?P<subject>IXI\d{3})(?=-(?:Guys|HH|IOP)-)" + SLICE,
    # Australian Imaging, Biomarkers and Lifestyle study, ida.loni.usc.edu.
    "aibl": r"AIBL[_/](?P<subject>\d{1,4})(?=[_/])" + SLICE,
    # Cancer Genome Atlas barcode, docs.gdc.cancer.gov: project-site-participant.
    "tcga": r"(?P<subject>TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4})(?:.*_\d{8}_(?P<slice>\d+)\.\w+$)?",
}
NO_PERSON = frozenset([
    "slice", "slices", "s", "z", "img", "image", "im", "frame", "visit", "ses", "session", "run", "t",
])  # fmt: skip
LEAST_EACH = 2  # images an id must have on average to be a person's


def spelling_key(person: str) -> str:
    """A key shared by all spellings of an id: `S-007`, `s_7` and `S-7.0` have one key.

    Spellings differ in case, leading zeros, a trailing `.0` or `,0`, and whether they have spaces, hyphens
    or underscores.
    """
    key = re.sub(r"[\s_-]+", "-", normalize("NFKC", person).strip().casefold())
    key = re.sub(r"^([^.,]*\d)[.,]0+$", r"\1", key)
    return re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", key)  # not in 1.05, which is not 1.5


def suggest_pattern(paths: Sequence[str], least_each: int = LEAST_EACH) -> tuple[str, str] | None:
    """A regular expression that reads a person from names that look like ids, and an example.

    Names look like ids if one of their numbers repeats in several files but not in all, and all names have
    the same words before it, class folders aside.

    Args:
        paths: from the root.
        least_each: files that an id must have on average; one that differs in every file is not an id.
    """
    splits = [re.split(r"(\d+)", path.partition("/")[2] or path) for path in paths]
    words = splits[0][::2]
    for place in range(1, min(map(len, splits)), 2):
        if len({tuple(split[:place:2]) for split in splits}) != 1:
            return None
        people = len({tuple(split[: place + 1]) for split in splits})
        lead = re.split(r"[/_. -]", words[place // 2])[-1]
        pattern = rf"({re.escape(lead)}\d+)" if lead else r"(\d+)"
        found = [re.search(pattern, path) for path in paths]
        ids = [match[1] for match in found if match]
        word = re.split(r"[^a-z]", words[place // 2].lower().rstrip("_. -"))[-1]
        repeats = people < len(paths) and people * least_each <= len(paths)
        distinguishes = len(ids) == len(paths) and len(set(ids)) == people
        if word not in NO_PERSON and people >= 2 and repeats and distinguishes:
            return pattern, ids[0]
    return None
