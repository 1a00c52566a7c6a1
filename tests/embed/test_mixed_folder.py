"""A folder of 200 files of every format, good and broken: every good one is embedded, every broken one named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.embed.pipeline import embed_files
from ecgjepa.embed.table import read_embeddings
from ecgjepa.leads import LEADS_8, LEADS_12, LIMB_LEADS
from ecgjepa.model.encoder import Encoder
from tests.data.sample_files import write_samples
from tests.data.test_readers import smooth_signal

FILES = 200


def twelve_leads_uv(seed: int) -> np.ndarray:
    """(12, 5000) in mV of whole, even microvolts, so that the limb leads derived from I and II are whole as well."""
    eight = 2 * np.rint(smooth_signal(seed, leads=8).T * 500)
    own = dict(zip(LEADS_8, eight, strict=True))
    limb = {lead: a * own["I"] + b * own["II"] for lead, (a, b) in LIMB_LEADS.items()}
    return np.stack([(limb | own)[lead] for lead in LEADS_12]) / 1000


@pytest.mark.parametrize("leads", [LEADS_12, LEADS_8], ids=["12 leads", "8 leads"])
def test_the_embedding_is_the_same_from_every_format(encoder: Encoder, tmp_path: Path, leads: tuple[str, ...]) -> None:
    signal_mv = twelve_leads_uv(0)[[LEADS_12.index(lead) for lead in leads]]
    samples = write_samples(tmp_path, signal_mv, leads, 500.0)
    expected = encoder.embed(signal_mv, sampling_rate_hz=500, leads=leads)
    assert len(samples) >= 11
    for name, (path, hints) in samples.items():
        outcome = embed_files(encoder, [path], tmp_path / f"{name}.parquet", hints=hints, progress=False)
        assert not outcome.failed, name
        rows, embeddings = read_embeddings(outcome.out)
        np.testing.assert_allclose(embeddings, expected[None], atol=1e-4, err_msg=name)
        assert tuple(rows["leads"][0]) == LEADS_8


def break_file(path: Path, how: int) -> None:
    """Cut it, empty it, or fill it with noise; a signal file of WFDB, where every noise is a signal, is cut."""
    header = path.with_suffix(".hea")
    target = next(file for file in (path.with_suffix(".dat"), path.with_suffix(".mat"), path) if file.exists())
    data = target.read_bytes()
    broken = [data[: len(data) // 3], b"", np.random.default_rng(how).bytes(2000)]
    target.write_bytes(broken[0 if header.exists() else how % 3])


@pytest.mark.slow
def test_two_hundred_files_good_and_broken(encoder: Encoder, tmp_path: Path) -> None:
    archive, good, broken, number = tmp_path / "archive", {}, set(), 0
    while number < FILES:
        signal_mv = twelve_leads_uv(number)
        folder = archive / f"{number:03d}"
        samples = write_samples(folder, signal_mv, LEADS_12, 500.0)
        expected = encoder.embed(signal_mv, sampling_rate_hz=500, leads=LEADS_12)
        for name, (path, _) in samples.items():
            if name == "npy" or number >= FILES:  # says neither rate nor unit: not for a folder
                for file in folder.glob(f"{path.stem}.*"):
                    file.unlink()
                continue
            entry = path.with_suffix(".hea") if path.with_suffix(".hea").exists() else path
            if number % 3 == 1:
                break_file(path, number)
                broken.add(str(entry))
            else:
                good[str(entry)] = expected
            number += 1
    outcome = embed_files(encoder, [archive], tmp_path / "e.parquet", progress=False, batch_size=64)
    rows, embeddings = read_embeddings(tmp_path / "e.parquet")
    assert outcome.entries == FILES == len(good) + len(broken)
    assert set(rows["path"]) == set(good)
    np.testing.assert_allclose(embeddings, np.stack([good[path] for path in rows["path"]]), atol=1e-4)
    failed = pd.read_csv(tmp_path / "e.parquet.failed.csv")
    assert set(failed["path"]) == broken
    assert failed["detail"].str.len().min() > 10
    assert rows["record"].is_unique
