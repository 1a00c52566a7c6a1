"""What the API answers is what the command line writes, whatever the file; filters, groups, refusals, counts."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from httpx import Response
from starlette.testclient import TestClient

from ecgjepa.checkpoint import load_encoder
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.readers import read
from ecgjepa.data.store import Store
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.embed.table import read_embeddings
from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.occlusion import occlusion_map
from ecgjepa.leads import LEADS_12
from ecgjepa.predict.files import predict_files
from ecgjepa.predict.model import find_classifier
from ecgjepa.search import Filters, SearchIndex
from ecgjepa.serve.app import create_app
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.served import Served, ServeError
from ecgjepa.windows import take_windows
from tests.data.archives import smooth_signal
from tests.data.sample_files import write_samples
from tests.serve.conftest import CLASSES, Material

MV = {"unit": "mV", "sampling_rate_hz": 500.0}


def parts_of(path: Path) -> list[Path]:
    """What a client sends of an ECG: of WFDB the header and its signal file."""
    stem = path.with_suffix("")
    both = [stem.with_suffix(suffix) for suffix in (".hea", ".dat", ".mat")]
    return [part for part in both if part.is_file()] if path.suffix in (".hea", ".mat", ".dat") else [path]


def send(client: TestClient, paths: Sequence[Path], where: str = "/api/ecgs", **fields: Any) -> Response:
    files = [("files", (path.name, path.read_bytes())) for path in paths]
    return client.post(where, files=files, data={name: value for name, value in fields.items() if value is not None})


def told(hints: Hints) -> dict[str, Any]:
    """Hints as fields of a form."""
    leads = None if hints.leads is None else ",".join(hints.leads)
    return {"sampling_rate_hz": hints.sampling_rate_hz, "leads": leads, "unit": hints.unit}


def reason_of(response: Response) -> str:
    return response.json()["error"]["reason"]


def check_as_files(
    client: TestClient,
    material: Material,
    paths: Sequence[Path],
    out: Path,
    hints: Hints = NO_HINTS,
    windows: str = "first",
    row: int | None = None,
) -> dict[str, Any]:
    """The answers of the API, held against what `embed` and `predict` write of the same files; the last of them."""
    how: dict[str, Any] = {"hints": hints, "windows": windows, "progress": False, "overwrite": True}
    embed_files(load_encoder(material.ckpt), paths, out / "e.parquet", **how)
    predict_files(find_classifier(material.head, ckpt=material.ckpt), paths, out / "p.parquet", **how)
    table, embeddings = read_embeddings(out / "e.parquet")
    predicted = pd.read_parquet(out / "p.parquet")
    for number, path in enumerate(paths) if row is None else [(row, paths[0])]:
        answer = send(client, parts_of(path), windows=windows, row=row, **told(hints))
        assert answer.status_code == 200, answer.text
        check_analysis(answer.json(), embeddings[number], predicted.iloc[number], table.iloc[number])
    return answer.json()


def check_analysis(analysis: dict[str, Any], embedding: np.ndarray, predicted: pd.Series, row: pd.Series) -> None:
    np.testing.assert_allclose(analysis["embedding"], embedding, atol=1e-6)
    probabilities = [output["probability"] for output in analysis["outputs"]]
    np.testing.assert_allclose(probabilities, [predicted[f"prob:{name}"] for name in CLASSES], atol=1e-6)
    assert ";".join(analysis["called"]) == predicted["called"]
    assert [output["threshold"] for output in analysis["outputs"]] == [0.3, 0.5, 0.6]
    for name in ("leads", "changes", "flags"):
        assert analysis["signal"][name] == list(row[name])


def test_every_format_is_answered_as_the_command_line_would(
    client: TestClient, material: Material, tmp_path: Path
) -> None:
    ecg = read(material.headers[3])
    samples = write_samples(tmp_path / "samples", ecg.signal_mv, LEADS_12, ecg.sampling_rate_hz)
    assert len(samples) > 8
    check_as_files(client, material, [path for path, hints in samples.values() if hints == NO_HINTS], tmp_path)
    analysis = check_as_files(client, material, [samples["npy"][0]], tmp_path, samples["npy"][1])
    window = take_windows(ecg)[0]
    signal = analysis["signal"]
    found = np.array([signal["signal_mv"][lead] for lead in window.leads])
    np.testing.assert_allclose(found, window.signal_mv, atol=1e-3)  # of a file in whole microvolts
    augmented = -(np.array(signal["signal_mv"]["I"]) + np.array(signal["signal_mv"]["II"])) / 2
    np.testing.assert_allclose(signal["derived_mv"]["aVR"], augmented, atol=1e-6)
    assert set(signal["leads"]) | set(signal["derived_mv"]) == set(LEADS_12)


@pytest.mark.parametrize("windows", ["first", "mean"])
def test_a_longer_recording_and_a_lead_alone_and_a_gap(
    client: TestClient, material: Material, tmp_path: Path, windows: str
) -> None:
    long = smooth_signal(7, 12_500).T
    long[1, 600:700] = np.nan
    np.savez(tmp_path / "long.npz", signal=long, sampling_rate_hz=500, leads=LEADS_12, unit="mV")
    analysis = check_as_files(client, material, [tmp_path / "long.npz"], tmp_path, NO_HINTS, windows)
    assert analysis["signal"]["windows"] == (1 if windows == "first" else 3)
    assert analysis["signal"]["recording_seconds"] == 25
    assert None in analysis["signal"]["signal_mv"]["II"]
    pd.DataFrame({"V2": long[7, :5000]}).to_csv(tmp_path / "alone.csv", index=False)
    analysis = check_as_files(client, material, [tmp_path / "alone.csv"], tmp_path, Hints(500, None, "mV"), windows)
    assert analysis["signal"]["leads"] == ["V2"]
    assert analysis["signal"]["derived_mv"] == {}


def test_a_row_of_a_file_of_many(client: TestClient, material: Material, tmp_path: Path) -> None:
    many = np.stack([smooth_signal(seed).T for seed in range(3)]).astype(np.float32)
    np.save(tmp_path / "many.npy", many)
    hints = Hints(500, LEADS_12, "mV")
    check_as_files(client, material, [tmp_path / "many.npy"], tmp_path, hints, row=2)
    refused = send(client, [tmp_path / "many.npy"], **told(hints))
    assert (refused.status_code, reason_of(refused)) == (422, "many_records")
    batch = send(client, [tmp_path / "many.npy"], "/api/ecgs/batch", **told(hints)).json()["items"]
    _, embeddings = read_embeddings(tmp_path / "e.parquet")
    assert [item["record"] for item in batch] == ["many[0]", "many[1]", "many[2]"]
    np.testing.assert_allclose([item["analysis"]["embedding"] for item in batch], embeddings, atol=1e-6)


def test_a_broken_one_does_not_hold_up_a_batch(client: TestClient, material: Material, tmp_path: Path) -> None:
    first, second, *_ = material.headers
    (tmp_path / "broken.csv").write_text("I,II\nno,numbers\n")
    sent = [*parts_of(first), tmp_path / "broken.csv", *parts_of(second)]
    answer = send(client, sent, "/api/ecgs/batch", neighbours=1)
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    by_name = {item["record"]: item for item in items}
    assert by_name["broken"]["analysis"] is None
    assert by_name["broken"]["error"]["detail"]
    for header in (first, second):
        analysis = by_name[header.stem]["analysis"]
        assert analysis["neighbours"][0]["record"] == header.stem
        assert analysis["signal"] is None


def test_neighbours_are_those_of_the_index(client: TestClient, material: Material) -> None:
    index = SearchIndex.open(material.index)
    header = material.headers[5]
    analysis = send(client, parts_of(header), neighbours=7).json()
    query = np.array([analysis["embedding"]], np.float32)
    expected = index.nearest(query, 7)
    assert [each["row"] for each in analysis["neighbours"]] == expected.rows_QK[0].tolist()
    distances = [each["distance"] for each in analysis["neighbours"]]
    np.testing.assert_allclose(distances, expected.distances_QK[0], atol=1e-6)
    assert analysis["neighbours"][0]["record"] == header.stem, "it is in the archive itself"
    np.testing.assert_allclose(analysis["place"], index.place_of(index.nearest(query, 6))[0], atol=1e-5)
    filters = Filters(labels=("MI", "CD"), sexes=("female",), age_min=30)
    asked = {"label": ["MI", "CD"], "sex": "female", "age_min": 30, "neighbours": 5}
    filtered = send(client, parts_of(header), **asked).json()
    assert [each["row"] for each in filtered["neighbours"]] == index.nearest(query, 5, filters=filters).rows_QK[
        0
    ].tolist()
    assert filtered["place"] == analysis["place"], "a place does not depend on what is asked for"
    unknown = send(client, parts_of(header), label="XYZ")
    assert (unknown.status_code, reason_of(unknown)) == (422, "wrong_parameter")
    assert "NORM" in unknown.json()["error"]["detail"], "it says what there is"


def test_records_of_the_archive(client: TestClient, material: Material) -> None:
    index = SearchIndex.open(material.index)
    page = client.get("/api/records", params={"q": "0001", "limit": 3, "offset": 1}).json()
    rows, total = index.find("0001", offset=1, limit=3)
    assert ([each["row"] for each in page["records"]], page["total"]) == (rows, total)
    row = rows[0]
    analysis = client.get(f"/api/records/{row}", params={"neighbours": 4}).json()
    expected = index.nearest(index.embeddings([row]), 4, leave_out=[row])
    assert [each["row"] for each in analysis["neighbours"]] == expected.rows_QK[0].tolist()
    assert index.places_R2 is not None
    np.testing.assert_allclose(analysis["place"], index.places_R2[row], atol=1e-5)
    uploaded = send(client, parts_of(material.headers[row])).json()
    assert uploaded["record"] == analysis["record"]
    np.testing.assert_allclose(
        [each["probability"] for each in analysis["outputs"]],
        [each["probability"] for each in uploaded["outputs"]],
        atol=2e-3,  # of a store in whole microvolts
    )
    signal = client.get(f"/api/records/{row}/signal").json()
    assert signal == analysis["signal"]
    found = np.array([signal["signal_mv"][lead] for lead in signal["leads"]])
    np.testing.assert_allclose(found, Store.open(material.store).signals_mv([row])[0], atol=1e-6)
    assert client.get("/api/records/4000").status_code == 404


@pytest.mark.parametrize("stretch_patches", [pytest.param(5, marks=pytest.mark.slow), 12])  # 12 leaves a rest
def test_occlusion_is_that_of_the_command_line(client: TestClient, material: Material, stretch_patches: int) -> None:
    header = material.headers[4]
    asked = {"class_name": "CD", "stretch_patches": stretch_patches}
    answer = send(client, parts_of(header), "/api/ecgs/occlusion", **asked).json()
    window = take_windows(read(header))[0]
    how: dict[str, Any] = {"stretch_patches": stretch_patches, "score": "log_odds"}
    head = Head.load(material.head)
    fall_LP = occlusion_map(load_encoder(material.ckpt), head, window.signal_mv, window.leads, "CD", **how)
    found = np.array([answer["fall"][lead] for lead in window.leads])
    np.testing.assert_allclose(found, fall_LP, atol=2e-6)
    assert answer["patch_seconds"] == 0.2
    index = SearchIndex.open(material.index)
    row = index.find(header.stem)[0][0]
    of_archive = client.get(f"/api/records/{row}/occlusion", params=asked).json()
    np.testing.assert_allclose(np.array(list(of_archive["fall"].values())), fall_LP, atol=5e-3)
    unknown = send(client, parts_of(header), "/api/ecgs/occlusion", class_name="XYZ")
    assert (unknown.status_code, reason_of(unknown)) == (422, "unknown_class")
    assert "NORM" in unknown.json()["error"]["detail"]


def test_groups_and_map(client: TestClient, material: Material) -> None:
    index = SearchIndex.open(material.index)
    assert index.places_R2 is not None
    points = client.get("/api/map", headers={"Accept-Encoding": "identity"})
    places = np.array([points.json()["x"], points.json()["y"]]).T
    np.testing.assert_allclose(places, index.places_R2, atol=1e-3 * np.ptp(index.places_R2))
    packed = client.get("/api/map", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == points.json()
    for by in ("label", "age", "sex", "source"):
        colours = client.get("/api/map/colours", params={"by": by}).json()
        assert len(colours["values"] if by == "age" else colours["codes"]) == len(index)
    x, y = np.median(places, axis=0)
    polygon = [[x, y], [x + 99, y], [x + 99, y + 99], [x, y + 99]]
    group = client.post("/api/groups", json={"polygon": polygon}).json()
    assert group["rows"] == np.flatnonzero((places > (x, y)).all(axis=1)).tolist()
    assert 0 < group["count"] < len(index)
    described = index.describe(group["rows"])
    assert [(each["label"], each["count"], each["of_all"]) for each in group["labels"]] == [
        (each.label, each.count, each.of_all) for each in described.labels
    ]
    assert client.post("/api/groups", json={"rows": [4000]}).status_code == 404
    assert client.post("/api/groups", json={}).status_code == 422


def test_refusals_say_why(client: TestClient, tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", smooth_signal(1).T)
    (tmp_path / "ecg.gif").write_bytes(b"GIF89a")
    cases = [
        (send(client, [tmp_path / "ecg.npy"]), 422, "unknown_sampling_rate"),
        (send(client, [tmp_path / "ecg.gif"]), 415, "unknown_format"),
        (send(client, [tmp_path / "ecg.npy"], neighbours=5000), 422, "wrong_parameter"),
        (send(client, [tmp_path / "ecg.npy"], unit="furlong"), 422, "wrong_parameter"),
        (client.post("/api/ecgs", data={"row": 1}), 422, "wrong_parameter"),
        (client.get("/api/ecgs"), 405, "method_not_allowed"),
        (client.get("/api/nothing"), 404, "not_found"),
        (client.post("/api/groups", content=b"{", headers={"Content-Type": "application/json"}), 400,
         "malformed_request"),
        (client.get("/docs"), 404, "not_found"),
    ]  # fmt: skip
    for response, status, reason in cases:
        assert (response.status_code, reason_of(response)) == (status, reason), response.text
        assert response.json()["error"]["detail"]


def test_metrics_count_and_name_nobody(client: TestClient, material: Material) -> None:
    header = material.headers[7]

    def number(name: str) -> float:
        lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(name)]
        return float(lines[0].split()[-1]) if lines else 0.0

    counted = ('ecgjepa_requests_total{route="/api/ecgs",status="200"}', "ecgjepa_embedded_ecgs_total",
               "ecgjepa_batch_windows_count", 'ecgjepa_refused_total{reason="not_found"}')  # fmt: skip
    before = {name: number(name) for name in counted}
    assert send(client, parts_of(header)).status_code == 200
    client.get(f"/{header.stem}")
    assert {name: number(name) - before[name] for name in counted} == dict.fromkeys(counted, 1.0)
    assert header.stem not in client.get("/metrics").text
    assert number("ecgjepa_readers_alive") == 1


def test_what_is_served(client: TestClient, served: Served, material: Material) -> None:
    about = client.get("/api/about").json()
    assert about["encoder"]["weights_sha256"] == load_encoder(material.ckpt).weights_sha256()
    assert about["classifier"]["classes"] == list(CLASSES)
    assert about["index"]["rows"] == len(SearchIndex.open(material.index))
    assert about["index"]["has_signals"]
    assert ".hea" in about["formats"]
    assert ".dat" in about["formats"]
    assert str(material.ckpt.parent) not in client.get("/api/about").text
    assert served.heads_read_embeddings, "the encoder runs once"
    assert client.get("/readyz").status_code == 200


def test_not_ready_before_it_is_warm_and_nothing_without_index_or_model(
    material: Material, limits: Limits, tmp_path: Path
) -> None:
    plain = Served.load(material.ckpt, device="cpu")
    app = create_app(plain, limits, token="a" * 16, hosts=["testserver"])
    cold = TestClient(app)
    assert cold.get("/readyz").status_code == 503
    assert cold.get("/healthz").status_code == 200
    assert cold.get("/api/about").status_code == 401
    bearer = {"Authorization": f"Bearer {'a' * 16}"}
    assert cold.get("/api/about", headers=bearer).status_code == 503
    with TestClient(app, headers=bearer) as warm:
        analysis = send(warm, parts_of(material.headers[0])).json()
        assert (analysis["outputs"], analysis["neighbours"], analysis["place"]) == ([], [], None)
        assert reason_of(warm.get("/api/map")) == "no_index"
        occluded = send(warm, parts_of(material.headers[0]), "/api/ecgs/occlusion", class_name="MI")
        assert (occluded.status_code, reason_of(occluded)) == (404, "no_classifier")
        assert send(warm, parts_of(material.headers[0]), sex="female").status_code == 404
        assert "token" in warm.get("/openapi.json").json()["components"]["securitySchemes"]
    assert cold.get("/readyz").status_code == 503, "it has stopped"


def test_an_index_of_another_encoder_is_refused(material: Material, tmp_path: Path) -> None:
    other = shutil.copytree(material.index, tmp_path / "index")
    described, sha256 = other / "index.json", load_encoder(material.ckpt).weights_sha256()
    described.write_text(described.read_text().replace(sha256, "f" * 64))
    with pytest.raises(ServeError, match="ffffffffffff, expected those of the encoder that is served"):
        Served.load(material.ckpt, index=other, device="cpu")
    described.write_text(
        described.read_text().replace("f" * 64, sha256).replace('"sampling_rate_hz": 250', '"sampling_rate_hz": 125')
    )
    with pytest.raises(ServeError, match=r"by the contract .*125"):
        Served.load(material.ckpt, index=other, device="cpu")
    with pytest.raises(ServeError, match="expected --ckpt"):
        Served.load(index=material.index, device="cpu")
