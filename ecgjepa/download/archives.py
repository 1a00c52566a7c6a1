"""The public archives: where they are published, under which licence, how to cite them, which files are needed.

Sizes: PhysioNet's list of checksums has none, so that those of its archives are a mean per file. A record of PTB-XL and
of ecg-arrhythmia is a signal file of 10 s x 500 Hz x 12 leads x 2 bytes = 120,000 bytes (and 24 of the MATLAB header)
and a header file below 1 kB; one of CPSC2018 lasts 15.9 s on average (Perez Alday et al. 2020, table 1).
"""

import re
from dataclasses import dataclass
from typing import Literal

CC_BY_4 = "Creative Commons Attribution 4.0 International, https://creativecommons.org/licenses/by/4.0/"
PHYSIONET = (
    "Goldberger A, et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation 101(23):e215-e220, 2000. "
    "https://doi.org/10.1161/01.CIR.101.23.e215"
)


@dataclass(frozen=True)
class Archive:
    """A published data set.

    Attributes:
        name: as `ecgjepa download` calls it.
        dataset: as `ecgjepa prepare --dataset` calls it.
        title: of the publication, with its version.
        publisher: how its list of files looks.
        page: where people read about it.
        address: what the addresses of its files begin with.
        licence: name and address.
        citations: what its authors ask to cite.
        needed: a regular expression of the names that are fetched, as the publisher writes them.
        optional: those that are fetched only when everything is asked for.
        folder: of the publisher, whose content goes into the data folder itself.
        must_have: expressions each of which some fetched name matches, or else the list is not that of this archive.
        mean_file_bytes: where the publisher's list has no sizes.
        mean_file_disk_bytes: the same in blocks of 4 KiB.
        unpacked_ratio: bytes of what a zip holds per byte of the zip.
    """

    name: str
    dataset: str
    title: str
    publisher: Literal["physionet", "zenodo"]
    page: str
    address: str
    licence: str
    citations: tuple[str, ...]
    needed: re.Pattern[str]
    must_have: tuple[re.Pattern[str], ...]
    optional: re.Pattern[str] | None = None
    folder: str = ""
    mean_file_bytes: int | None = None
    mean_file_disk_bytes: int = 0
    unpacked_ratio: float = 1.0


PTBXL = Archive(
    name="ptbxl",
    dataset="ptbxl",
    title="PTB-XL 1.0.3",
    publisher="physionet",
    page="https://physionet.org/content/ptb-xl/1.0.3/",
    address="https://physionet.org/files/ptb-xl/1.0.3/",
    licence=CC_BY_4,
    citations=(
        "Wagner P, Strodthoff N, Bousseljot R, Samek W, Schaeffter T. PTB-XL, a large publicly available "
        "electrocardiography dataset (version 1.0.3). PhysioNet, 2022. https://doi.org/10.13026/kfzx-aw45",
        "Wagner P, et al. PTB-XL, a large publicly available electrocardiography dataset. Scientific Data 7:154, 2020. "
        "https://doi.org/10.1038/s41597-020-0495-6",
        PHYSIONET,
    ),
    needed=re.compile(r"[^/]+|records500/.+"),
    optional=re.compile(r"records100/.+"),
    must_have=tuple(map(re.compile, (r"ptbxl_database\.csv", r"scp_statements\.csv", r"records500/.+\.hea"))),
    mean_file_bytes=60_400,
    mean_file_disk_bytes=(122_880 + 4_096) // 2,
)

SHAOXING = Archive(
    name="shaoxing",
    dataset="shaoxing",
    title="A large scale 12-lead electrocardiogram database for arrhythmia study 1.0.0 (Chapman-Shaoxing-Ningbo)",
    publisher="physionet",
    page="https://physionet.org/content/ecg-arrhythmia/1.0.0/",
    address="https://physionet.org/files/ecg-arrhythmia/1.0.0/",
    licence=CC_BY_4,
    citations=(
        "Zheng J, Guo H, Chu H. A large scale 12-lead electrocardiogram database for arrhythmia study (version 1.0.0). "
        "PhysioNet, 2022. https://doi.org/10.13026/wgex-er52",
        "Zheng J, et al. Optimal multi-stage arrhythmia classification approach. Scientific Reports 10:2898, 2020. "
        "https://doi.org/10.1038/s41598-020-59821-7",
        PHYSIONET,
    ),
    needed=re.compile(r"[^/]+|WFDBRecords/.+"),
    must_have=(re.compile(r"WFDBRecords/[^/]+/[^/]+/.+\.hea"),),
    mean_file_bytes=60_400,
    mean_file_disk_bytes=(122_880 + 4_096) // 2,
)

CPSC2018 = Archive(
    name="cpsc2018",
    dataset="cpsc",
    title="CPSC2018, in the PhysioNet/Computing in Cardiology Challenge 2020 1.0.2",
    publisher="physionet",
    page="https://physionet.org/content/challenge-2020/1.0.2/",
    address="https://physionet.org/files/challenge-2020/1.0.2/",
    licence=CC_BY_4,
    citations=(
        "Liu F, et al. An open access database for evaluating the algorithms of electrocardiogram rhythm and "
        "morphology abnormality detection. Journal of Medical Imaging and Health Informatics 8(7):1368-1373, 2018. "
        "https://doi.org/10.1166/jmihi.2018.2442",
        "Perez Alday EA, et al. Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology Challenge 2020 "
        "(version 1.0.2). PhysioNet, 2022. https://doi.org/10.13026/dvyd-kd57",
        PHYSIONET,
    ),
    needed=re.compile(r"LICENSE[^/]*|training/cpsc_2018/g[1-7]/.+"),
    folder="training/cpsc_2018/",
    must_have=(re.compile(r"training/cpsc_2018/g[1-7]/.+\.hea"),),
    mean_file_bytes=95_900,
    mean_file_disk_bytes=99_000,
)

CODE15 = Archive(
    name="code15",
    dataset="code15",
    title="CODE-15%: a large scale annotated dataset of 12-lead ECGs",
    publisher="zenodo",
    page="https://doi.org/10.5281/zenodo.4916206",
    address="https://zenodo.org/",
    licence=CC_BY_4,
    citations=(
        "Ribeiro AH, et al. CODE-15%: a large scale annotated dataset of 12-lead ECGs. Zenodo, 2021. "
        "https://doi.org/10.5281/zenodo.4916206",
        "Lima EM, et al. Deep neural network-estimated electrocardiographic age as a mortality predictor. Nature "
        "Communications 12:5117, 2021. https://doi.org/10.1038/s41467-021-25351-7",
    ),
    needed=re.compile(r"exams\.csv|exams_part\d+\.zip"),
    must_have=tuple(map(re.compile, (r"exams\.csv", r"exams_part\d+\.zip"))),
    unpacked_ratio=1.6,  # 345,779 exams of 4,096 x 12 float32 are 68 GB, in zips of about 46 GB
)
ZENODO_RECORD = "4916206"

ARCHIVES = {archive.name: archive for archive in (PTBXL, CPSC2018, SHAOXING, CODE15)}
