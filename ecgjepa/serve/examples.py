"""Answers as they look, for the OpenAPI description; made of the same classes, so that they cannot be out of date."""

from ecgjepa.serve.schemas import (
    Analysis,
    Batch,
    BatchItem,
    ClassOutput,
    Group,
    IndexedRecord,
    LabelCount,
    MapColours,
    MapPoints,
    Neighbour,
    Occlusion,
    Problem,
    RecordPage,
    Refused,
    Signal,
)

REFUSED = Refused(
    error=Problem(
        reason="unknown_unit",
        detail="the file does not say its unit, expected --unit (unit=) mV, uV, V, nV or adc",
        record="00001_hr",
    )
)
SIGNAL = Signal(
    record="00001_hr",
    sampling_rate_hz=250,
    start_s=0,
    seconds=10,
    windows=1,
    recording_seconds=10,
    leads=["I", "II"],
    signal_mv={"I": [-0.115, -0.115, None], "II": [-0.05, -0.05, -0.048]},
    derived_mv={"III": [0.065, 0.065, None]},
    changes=["resampled", "gap:I"],
    flags=[],
)
RECORD = IndexedRecord(
    row=5, record="00108_hr", window=0, start_s=0, labels=["NORM"], age=56, sex="female", source="ptbxl"
)
ANALYSIS = Analysis(
    record="00001_hr",
    signal=SIGNAL,
    embedding=[0.125, -1.5],
    outputs=[ClassOutput(name="MI", probability=0.71, threshold=0.34, called=True)],
    called=["MI"],
    neighbours=[Neighbour(**RECORD.model_dump(), distance=0.08)],
    place=(3.2, -1.1),
)
BATCH = Batch(
    items=[
        BatchItem(record="00001_hr", analysis=ANALYSIS.model_copy(update={"signal": None})),
        BatchItem(record="broken", error=REFUSED.error.model_copy(update={"record": "broken"})),
    ]
)
OCCLUSION = Occlusion(
    record="00001_hr",
    class_name="MI",
    score="log_odds",
    patch_seconds=0.2,
    stretch_patches=2,
    start_s=0,
    leads=["I", "II"],
    fall={"I": [0.02, 0.02, None], "II": [0.31, 0.31, -0.04]},
)
RECORD_PAGE = RecordPage(total=1, offset=0, records=[RECORD])
MAP_POINTS = MapPoints(x=[3.2, -1.05], y=[-1.1, 0.4])
MAP_COLOURS = MapColours(by="label", names=["NORM", "MI"], codes=[0, -1])
GROUP = Group(
    rows=[5, 9],
    count=2,
    labels=[LabelCount(label="NORM", count=2, of_all=184)],
    sexes={"female": 2},
    sources={"ptbxl": 2},
    age_quartiles=(50, 56, 61),
)
