"""The catalogue of malformed input: every kind that a reader must refuse by name."""

from pathlib import Path

from ecgjepa.leads import LEADS_12
from tests.data import (
    malformed_arrays,
    malformed_devices,
    malformed_hdf5,
    malformed_places,
    malformed_texts,
    malformed_wfdb,
)
from tests.data.archives import smooth_signal
from tests.data.malformed_kind import Ground, Kind
from tests.data.sample_files import write_samples
from tests.data.wfdb_formats import write_formats

RATE_HZ, SAMPLES = 250.0, 250

KINDS: tuple[Kind, ...] = (
    *malformed_wfdb.kinds(),
    *malformed_arrays.kinds(),
    *malformed_hdf5.kinds(),
    *malformed_texts.kinds(),
    *malformed_devices.kinds(),
    *malformed_places.kinds(),
)


def make_ground(folder: Path) -> Ground:
    """True samples of a second in every format, which lie outside of what is read."""
    write_samples(folder, smooth_signal(5, SAMPLES, 12).T, LEADS_12, RATE_HZ)
    write_formats(folder)
    return Ground({file.name: file.read_bytes() for file in folder.iterdir()}, folder)
