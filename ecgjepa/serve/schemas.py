"""What the API answers, as JSON; the OpenAPI description is made of these.

Axes: L leads, S samples, P patches, D width, R rows of the index.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

NOTICE = "For research, not for diagnosis."


class Answer(BaseModel):
    """An answer, or a part of one; what it has no value for is null, never left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(Answer):
    """Why a request got no answer."""

    reason: str = Field(description="short and for machines, as `unknown_unit`", examples=["unknown_sampling_rate"])
    detail: str = Field(description="what was found and what was expected")
    record: str | None = Field(None, description="the ECG that it is about, as the client calls it")


class Refused(Answer):
    """The body of every answer that is not 2xx."""

    error: Problem

    @classmethod
    def body(cls, problem: Problem) -> bytes:
        """As it is sent."""
        return cls(error=problem).model_dump_json().encode()


class Signal(Answer):
    """A standardised ECG: what the encoder saw of it."""

    record: str
    sampling_rate_hz: float
    start_s: float = Field(description="where in the recording the window begins")
    seconds: float = Field(description="length of the window")
    windows: int = Field(description="windows of the recording that the embedding is of")
    recording_seconds: float | None = Field(None, description="length of the recording, where it is known")
    leads: list[str] = Field(description="leads of the contract that are there, in its order")
    signal_mv: dict[str, list[float | None]] = Field(description="samples of each of `leads` in mV; null is a gap")
    derived_mv: dict[str, list[float | None]] = Field(
        description="limb leads that follow from two others and are not among `leads`"
    )
    changes: list[str] = Field(description="what was changed by a stated rule, see docs/data.md")
    flags: list[str] = Field(description="what is unusual, see docs/data.md")


class ClassOutput(Answer):
    """What the classifier says of one class, or of one value of a regression."""

    name: str
    probability: float | None = None
    threshold: float | None = Field(None, description="chosen on validation records; null where there is none")
    called: bool | None = Field(None, description="the decision: at the threshold, or the most probable of one-of-many")
    value: float | None = Field(None, description="of a regression")
    unit: str | None = None


class IndexedRecord(Answer):
    """One row of the index."""

    row: int
    record: str
    window: int | None = Field(None, description="which window of a longer recording; null where the row is all of it")
    start_s: float | None = None
    labels: list[str]
    age: float | None = Field(None, description="years")
    sex: str | None = None
    source: str | None = Field(None, description="the data set that it came from")


class Neighbour(IndexedRecord):
    """A row of the index that is near."""

    distance: float = Field(description="0 is the same direction; by the metric that `about.index.metric` names")


class Analysis(Answer):
    """All that is said of one ECG."""

    notice: str = NOTICE
    record: str
    signal: Signal | None = None
    embedding: list[float] | None = Field(None, description="(D,) float32")
    outputs: list[ClassOutput] = Field(description="empty without a classifier")
    called: list[str] = Field(description="names of the classes that are called")
    neighbours: list[Neighbour] = Field(description="nearest first; empty without an index")
    place: tuple[float, float] | None = Field(
        None, description="on the map: its own of a row, else the mean of its neighbours'"
    )


class BatchItem(Answer):
    """One ECG of a batch: an analysis, or why there is none."""

    record: str
    analysis: Analysis | None = None
    error: Problem | None = None


class Batch(Answer):
    """Every ECG of a batch, in the order of the files."""

    notice: str = NOTICE
    items: list[BatchItem]


class Occlusion(Answer):
    """What a class rests on: by how much its log odds fall when a stretch of a lead is hidden."""

    notice: str = NOTICE
    record: str
    class_name: str
    score: Literal["log_odds"]
    patch_seconds: float
    stretch_patches: int
    start_s: float
    leads: list[str]
    fall: dict[str, list[float | None]] = Field(
        description="of each lead, (P,): positive speaks for the class; null where there was nothing to hide"
    )


class RecordPage(Answer):
    """Some of the rows that were asked for."""

    total: int
    offset: int
    records: list[IndexedRecord]


class MapPoints(Answer):
    """Places of all rows on the map, in the order of the rows."""

    x: list[float]
    y: list[float]


class MapColours(Answer):
    """What the points are coloured by: a code into `names` (-1: not known), or a number."""

    by: str
    names: list[str] | None = None
    codes: list[int] | None = None
    values: list[float | None] | None = None
    unit: str | None = None


class LabelCount(Answer):
    """How often a label occurs in a group, and in the whole index."""

    label: str
    count: int
    of_all: int


class Group(Answer):
    """A group of rows, and what it is made of."""

    rows: list[int]
    count: int
    labels: list[LabelCount] = Field(description="most frequent in the group first")
    sexes: dict[str, int]
    sources: dict[str, int]
    age_quartiles: tuple[float, float, float] | None = Field(None, description="years")


class AboutEncoder(Answer):
    """The encoder that embeds."""

    source: str
    weights_sha256: str
    width: int
    leads: list[str]
    sampling_rate_hz: float
    seconds: float


class AboutClassifier(Answer):
    """The classifier that says something of an embedding."""

    source: str
    task: Literal["multilabel", "multiclass", "regression"]
    classes: list[str]


class AboutIndex(Answer):
    """The archive that is searched."""

    rows: int
    metric: str
    level: str | None = Field(description="the level of labels that it was built with")
    labels: list[LabelCount] = Field(description="most frequent first; `count` equals `of_all`")
    sexes: list[str]
    sources: list[str]
    has_map: bool
    has_signals: bool = Field(description="whether its ECGs can be drawn")


class About(Answer):
    """What is served, and how much of it may be asked for."""

    notice: str = NOTICE
    version: str
    encoder: AboutEncoder
    classifier: AboutClassifier | None = None
    index: AboutIndex | None = None
    formats: list[str] = Field(description="suffixes of the files that may be uploaded")
    max_upload_bytes: int
    max_files: int
    max_batch_ecgs: int
    token_required: bool
