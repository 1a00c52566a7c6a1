"""Mixing: exact shares of every epoch, each record once before any comes again, any epoch without those before it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgjepa.data.amplitude import amplitude_warnings, measure_amplitudes, peak_to_peak_mv
from ecgjepa.data.mixing import Mixture, check_names, share_out
from ecgjepa.signal import SignalContract
from tests.data.stores import write_store

WEIGHTS = st.lists(st.floats(0, 1e300), min_size=1, max_size=6).filter(any)


@given(total=st.integers(0, 10_000_000), weights=WEIGHTS)
def test_shares_are_exact(total: int, weights: list[float]) -> None:
    shares = share_out(total, weights)
    assert sum(shares) == total
    parts = np.array(weights) / max(weights)
    assert np.abs(np.array(shares) - total * parts / parts.sum()).max() < 1 + 1e-6
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)


def test_the_largest_remainder_comes_first() -> None:
    assert share_out(10, [1, 1, 1]) == [4, 3, 3]
    assert share_out(7, [0.5, 0.3, 0.2]) == [4, 2, 1]  # exactly 3.5, 2.1, 1.4
    assert share_out(3, [0, 5]) == [0, 3]


def test_an_epoch_draws_from_each_source_as_often_as_its_weight_says() -> None:
    mixture = Mixture.of(["a", "b", "a", "c"], [30, 50, 10, 10], {"a": 3, "b": 1, "c": 1})
    assert (mixture.sources, mixture.draws, len(mixture)) == (("a", "b", "c"), (60, 20, 20), 100)
    source_of = np.repeat([0, 1, 0, 2], [30, 50, 10, 10])
    for epoch in range(4):
        order = mixture.order(7, epoch)
        assert np.bincount(source_of[order]).tolist() == [60, 20, 20]
        first = np.bincount(source_of[order[:50]], minlength=3)
        assert (first > 0).all()  # shuffled, not one source after the other


@pytest.mark.parametrize("weights", [{"a": 3, "b": 1}, {"a": 1, "b": 3}, {"a": 0.05, "b": 1}])
def test_within_a_source_no_record_comes_again_before_all_were_drawn(weights: dict[str, float]) -> None:
    mixture = Mixture.of(["a", "b"], [7, 40], weights)
    drawn = np.concatenate([mixture.order(0, epoch) for epoch in range(12)])
    for low, high in ((0, 7), (7, 47)):
        own = drawn[(drawn >= low) & (drawn < high)].tolist()
        assert len(own) > high - low, "more than one cycle"
        for first in range(0, len(own), high - low):
            cycle = own[first : first + high - low]
            assert len(set(cycle)) == len(cycle)


def test_cycles_are_whole_and_differ() -> None:
    mixture = Mixture.of(["a"], [10], {"a": 2})
    epochs = [mixture.order(0, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3
    assert tuple(mixture.order(1, 0)) not in {tuple(order) for order in epochs}


def test_any_epoch_is_found_without_those_before_it() -> None:
    arguments = (["a", "b", "c"], [13, 400, 29], {"a": 5.0, "b": 1.0, "c": 0.1})
    in_turn = Mixture.of(*arguments)
    orders = [in_turn.order(3, epoch) for epoch in range(30)]
    for epoch in (29, 0, 17):
        np.testing.assert_array_equal(Mixture.of(*arguments).order(3, epoch), orders[epoch])


def test_stores_of_one_data_set_share_it_in_proportion_of_their_rows() -> None:
    mixture = Mixture.of(["a", "a", "b"], [100, 300, 100], {"a": 1, "b": 1})
    drawn = np.bincount(np.repeat([0, 1, 2], [100, 300, 100])[np.concatenate([mixture.order(0, e) for e in range(8)])])
    assert drawn.tolist() == [500, 1500, 2000]  # five whole cycles of a


def test_weight_0_leaves_a_source_out_of_the_epoch_too() -> None:
    mixture = Mixture.of(["a", "b", "c"], [5, 50, 3], {"a": 1, "b": 0, "c": 2})
    assert mixture.draws == (3, 0, 5)
    assert not ((mixture.order(0, 0) >= 5) & (mixture.order(0, 0) < 55)).any()
    assert Mixture.of(["a", "b"], [5, 0], {"a": 1, "b": 0}).draws == (5, 0)


@pytest.mark.parametrize(
    ("sizes", "weights", "message"),
    [
        ([5, 5], {"a": 1}, "no weight of b: weights name all sources or none; the sources are a, b"),
        ([5, 5], {"a": 1, "b": 1, "ptb": 1}, "weight of ptb, but the sources are a, b"),
        ([5, 0], {"a": 1, "b": 2}, "weight of b is 2, but it has no record to train on"),
        ([5, 5], {"a": 0, "b": 0}, "all of a, b are 0"),
    ],
)
def test_weights_that_fit_no_source_are_named(sizes: list[int], weights: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixture.of(["a", "b"], sizes, weights)


def test_gains_may_name_some() -> None:
    assert check_names("gain", {"b": 2.0}, ["a", "b", "a"], all_of_them=False) == ("a", "b")
    with pytest.raises(ValueError, match="gain of c, but the sources are a, b"):
        check_names("gain", {"c": 2.0}, ["a", "b"], all_of_them=False)


def sines(amplitude_mv: float, frequency_hz: float, rate_hz: int = 250) -> np.ndarray:
    time_s = np.arange(10 * rate_hz) / rate_hz
    return np.tile(amplitude_mv * np.sin(2 * np.pi * frequency_hz * time_s), (3, 8, 1)).astype(np.float32)


@pytest.mark.parametrize(("frequency_hz", "share"), [(5, 1), (0.1, 0.1), (110, 0.05)])
def test_peak_to_peak_is_that_of_the_band(frequency_hz: float, share: float) -> None:
    found = peak_to_peak_mv(sines(1.5, frequency_hz), 250)
    assert found.shape == (3,)
    assert (found == pytest.approx(3.0, rel=0.05)) if share == 1 else (found < 3 * share).all()


@pytest.mark.parametrize("rate_hz", [1, 10, 60, 500])
def test_peak_to_peak_at_rates_that_do_not_reach_the_band(rate_hz: int) -> None:
    found = peak_to_peak_mv(np.random.default_rng(0).normal(size=(2, 8, 10 * rate_hz)).astype(np.float32), rate_hz)
    assert np.isfinite(found).all()
    assert (found > 0).all()


def test_amplitudes_are_those_of_the_rows_after_the_gain(tmp_path: Path) -> None:
    contract = SignalContract(seconds=4)
    waves = np.rint(1000 * sines(1.0, 5)[:1, :, :1000]).astype(np.int16)
    scale = np.repeat([1, 9], [8, 4])[:, None, None]
    stores = [
        write_store(tmp_path / "a", 12, contract=contract, signals_uv=waves * scale.astype(np.int16)),
        write_store(tmp_path / "b", 4, contract=contract, signals_uv=np.repeat(waves, 4, 0), dataset="b"),
    ]
    rows = [np.arange(8), np.arange(4)]
    plain, halved = measure_amplitudes(stores, rows, {}), measure_amplitudes(stores, rows, {"b": 0.5})
    assert plain == {"a": pytest.approx(2, rel=0.05), "b": pytest.approx(2, rel=0.05)}
    assert halved == {"a": plain["a"], "b": plain["b"] / 2}
    assert measure_amplitudes(stores, [np.arange(8, 12), rows[1]], {})["a"] == pytest.approx(18, rel=0.05)
    both = [
        stores[0],
        write_store(tmp_path / "c", 4, contract=contract, signals_uv=np.repeat(9 * waves, 4, 0), dataset="a"),
    ]
    assert measure_amplitudes(both, [np.arange(2), np.arange(4)], {})["a"] == pytest.approx(18, rel=0.05)


def test_sources_of_another_scale_are_named_with_the_gain_that_mends_it() -> None:
    found_mv = {"ptbxl": 1.44, "code15": 3.6, "shaoxing": 1.8}
    (line,) = amplitude_warnings(found_mv, {})
    assert "code15 and ptbxl differ in scale by a factor of 2.5" in line
    assert "--gain code15=0.4 " in line
    assert amplitude_warnings({**found_mv, "code15": 1.44}, {"code15": 0.4}) == []
    (line,) = amplitude_warnings({**found_mv, "code15": 0.72}, {"code15": 0.2})
    assert "factor of 2:" in line
    assert "--gain code15=0.4 " in line
    assert amplitude_warnings({"a": 5.0}, {}) == []
    assert amplitude_warnings({}, {}) == []


def test_flat_sources_are_named() -> None:
    (line,) = amplitude_warnings({"ptbxl": 1.44, "flat": 0.0}, {})
    assert line.startswith("flat: half of the records or more are flat lines")


@pytest.mark.real_data
def test_code15_and_ptbxl_differ_in_scale(real_data_dir: Path) -> None:
    from ecgjepa.data.readers import read

    def size_mv(path: Path, row: int | None = None) -> float:
        recording = read(path, row)
        live = np.flatnonzero(np.abs(recording.signal_mv).sum(axis=0))
        signal_mv = recording.signal_mv[None, :, live[0] : live[-1] + 1].astype(np.float32)
        return float(peak_to_peak_mv(signal_mv, recording.sampling_rate_hz)[0])

    ptbxl = [size_mv(path) for path in sorted(real_data_dir.glob("ptbxl/records500/*/*.hea"))[:40]]
    code15 = [size_mv(real_data_dir / "code15" / "exams_part0.hdf5", row) for row in range(10)]
    assert 2 < np.median(code15) / np.median(ptbxl) < 3.2
    (line,) = amplitude_warnings({"ptbxl": float(np.median(ptbxl)), "code15": float(np.median(code15))}, {})
    assert line.startswith("code15 and ptbxl differ")
