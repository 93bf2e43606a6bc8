"""How public data sets write who is in a file, in one table; and what unknown names look like.

Visits and scans of a person are one person. A rule is searched in the path from the root, so that raw
download trees and renamed files are read alike; group "subject" is the person, "slice" the number of a slice.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import normalize

SLICE = r"(?:.*[/_]slice-(?P<slice>\d+))?"  # as alzgan.prepare writes it behind the name of a volume


@dataclass(frozen=True)
class NamingRule:
    """One data set's way, with where it is written down."""

    pattern: str
    source: str


RULES = {
    "bids": NamingRule(
        r"(?:^|[/_])(?P<subject>sub-[A-Za-z0-9]+)" + SLICE,
        "Brain Imaging Data Structure 1.9, section 'Entities'; also with ses-LABEL",
    ),
    "adni": NamingRule(
        r"(?<!\d)(?P<subject>\d{3}_S_\d{4,5})(?!\d)" + SLICE,
        "Alzheimer's Disease Neuroimaging Initiative: site_S_roster number, adni.loni.usc.edu",
    ),
    "oasis": NamingRule(
        r"(?P<subject>OAS[12]_\d{4}|OAS[34]\d{4})(?!\d)"
        r"(?:.*(?:[/_]slice-|_mpr-\d_(?:anon_)?)(?P<slice>\d+)(?=\D*$))?",
        "OASIS-1 and 2 (OAS1_0028_MR1), OASIS-3 and 4 (OAS30001_MR_d0129), oasis-brains.org",
    ),
    "ixi": NamingRule(
        r"(?P<subject>IXI\d{3})(?=-(?:Guys|HH|IOP)-)" + SLICE, "IXI: IXI012-HH-1211-T1, brain-development.org"
    ),
    "aibl": NamingRule(
        r"AIBL[_/](?P<subject>\d{1,4})(?=[_/])" + SLICE,
        "Australian Imaging, Biomarkers and Lifestyle study, image archive at ida.loni.usc.edu",
    ),
    "tcga": NamingRule(
        r"(?P<subject>TCGA[-_][A-Z0-9]{2}[-_][A-Z0-9]{4})(?:.*_\d{8}_(?P<slice>\d+)\.\w+$)?",
        "The Cancer Genome Atlas barcode: project-site-participant, docs.gdc.cancer.gov",
    ),
}
NO_PERSON = frozenset([
    "slice", "slices", "s", "z", "img", "image", "im", "frame", "visit", "ses", "session", "run", "t",
])  # fmt: skip
LEAST_EACH = 2  # images that an id must have on average to be taken for a person's


def spelling_key(person: str) -> str:
    """What all spellings of an id have in common: `S-007`, `s_7` and `S-7.0` have one key.

    Spellings differ in case, leading zeros, a trailing `.0` or `,0`, and whether they have spaces, hyphens
    or underscores.
    """
    key = re.sub(r"[\s_-]+", "-", normalize("NFKC", person).strip().casefold())
    key = re.sub(r"^([^.,]*\d)[.,]0+$", r"\1", key)
    return re.sub(r"(?<!\d)(?<!\d[.,])0+(?=\d)", "", key)  # not in 1.05, which is not 1.5


def suggest_pattern(paths: Sequence[str], least_each: int = LEAST_EACH) -> tuple[str, str] | None:
    """A regular expression that would read a person from names that look like ids, and an example.

    Names look like ids where one of their numbers repeats from file to file without being the same in all,
    and all names, class folders aside, have the same words before it.

    Args:
        paths: from the root.
        least_each: files that an id must have on average; one that differs in every file is no id.
    """
    splits = [re.split(r"(\d+)", path.partition("/")[2] or path) for path in paths]
    words = splits[0][::2]
    for place in range(1, min(map(len, splits)), 2):
        if len({tuple(split[:place:2]) for split in splits}) != 1:
            return None
        people = len({tuple(split[: place + 1]) for split in splits})
        lead = re.search(r"[^/_. -]*$", words[place // 2])[0]
        pattern = rf"({re.escape(lead)}\d+)" if lead else r"(\d+)"
        found = [re.search(pattern, path) for path in paths]
        alone = len({match[1] for match in found if match}) == people  # the pattern alone finds them, too
        word = re.search(r"([a-z]*)[_. -]*$", words[place // 2].lower())[1]
        repeats = people < len(paths) and people * least_each <= len(paths)
        if word not in NO_PERSON and people >= 2 and repeats and all(found) and alone:
            return pattern, found[0][1]
    return None
