"""An exported encoder computes what the encoder computes, for any batch, leads and length, and says what it takes."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from click.testing import CliRunner

from ecgjepa import OnnxEncoder, SignalContract, export_onnx, load_encoder
from ecgjepa.checkpoint import save_model
from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.data.synthetic import write_ptbxl_archive
from ecgjepa.export import onnx_encoder, onnx_file
from ecgjepa.export.onnx_encoder import ExportError
from ecgjepa.export.parity import cases, check_parity, ecg_like
from ecgjepa.model.encoder import Encoder

LEADS = SignalContract().leads
SMALL = ModelConfig(width=16, depth=1, heads=2, patch_norm=True)
EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "export.md").read_text(), re.DOTALL)


@dataclass
class Exported:
    """A run folder's model, its teacher, the file that the command made of it, and what the command said."""

    model: Path
    encoder: Encoder
    file: Path
    said: str


def make_encoder(seed: int, config: ModelConfig = SMALL, contract: SignalContract | None = None) -> Encoder:
    return Encoder(config, contract or SignalContract(), generator=torch.Generator().manual_seed(seed))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def failed(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), "one line, no traceback"
    return result.output


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("export")
    encoder = make_encoder(1)
    save_model(folder / "run" / "model", {"teacher": encoder, "student": make_encoder(2)}, seed=7, steps=11)
    said = run("export", folder / "run", folder / "encoder.onnx")
    assert [file.name for file in folder.glob("*enc*")] == ["encoder.onnx"]
    return Exported(folder / "run", encoder, folder / "encoder.onnx", said)


@pytest.mark.parametrize(
    ("records", "leads", "patches"),
    [
        (1, LEADS, 50),
        (5, LEADS, 1),
        (3, ("V3",), 25),
        (1, ("II",), 1),
        (2, ("V6", "I", "V2"), 7),
        (7, ("V1", "II"), 50),
    ],
)
def test_any_batch_leads_and_length(exported: Exported, records: int, leads: tuple[str, ...], patches: int) -> None:
    signal_mv_BLS = np.random.default_rng(records).normal(size=(records, len(leads), 50 * patches)).astype(np.float32)
    file = OnnxEncoder(exported.file)
    with torch.no_grad():
        tokens_BLPD = exported.encoder.forward_features(torch.from_numpy(signal_mv_BLS), leads)
        embedding_BD = exported.encoder(torch.from_numpy(signal_mv_BLS), leads)
    np.testing.assert_allclose(file.forward_features(signal_mv_BLS, leads), tokens_BLPD.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(file.forward(signal_mv_BLS, leads), embedding_BD.numpy(), rtol=0, atol=1e-5)
    if leads == LEADS:
        np.testing.assert_array_equal(file.forward(signal_mv_BLS), file.forward(signal_mv_BLS, leads))


@pytest.mark.slow
def test_published_weights_give_the_published_numbers(parity_dir: Path, tmp_path: Path) -> None:
    run("export", parity_dir / "encoder_tiny.pth", tmp_path / "tiny.onnx", "--heads", 4)
    file = OnnxEncoder(tmp_path / "tiny.onnx")
    with np.load(parity_dir / "outputs.npz") as arrays:
        outputs = dict(arrays)
    signal_mv_BLS = np.load(parity_dir / "input.npy")
    embedding_BD, tokens_BLPD = file.run(("embedding", "tokens"), signal_mv_BLS)
    np.testing.assert_allclose(embedding_BD, outputs["representation"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(tokens_BLPD.reshape(4, 400, 64), outputs["tokens"], rtol=0, atol=1e-4)
    chest = ("V1", "V2", "V3", "V4", "V5", "V6")
    subsets = {"II": ("II",), "II_V1": ("II", "V1"), "I_II": ("I", "II"), "V1_to_V6": chest}
    for name, leads in subsets.items():
        rows = [LEADS.index(lead) for lead in leads]
        found_BD = file.forward(signal_mv_BLS[:, rows], leads)
        np.testing.assert_allclose(found_BD, outputs[f"representation_{name}"], rtol=0, atol=1e-4)
    assert file.contract.resampling == "fft"
    assert file.notes["provenance"]["source"] == "encoder_tiny.pth"


def test_layer_other_contract_and_half_precision(tmp_path: Path) -> None:
    contract = SignalContract(leads=("II",), sampling_rate_hz=100, seconds=2.0)
    config = ModelConfig(width=16, depth=2, heads=2, patch_samples=20)
    encoder = make_encoder(3, config, contract).bfloat16().train()
    export_onnx(encoder, tmp_path / "layer.onnx", layer=1)
    assert encoder.training
    assert encoder.norm.weight.dtype == torch.bfloat16
    file = OnnxEncoder(tmp_path / "layer.onnx")
    assert file.contract == contract
    assert file.sizes["layer"] == 1
    signal_mv_BLS = np.random.default_rng(0).normal(size=(2, 1, 200)).astype(np.float32)
    with torch.no_grad():
        expected = encoder.float().forward_features(torch.from_numpy(signal_mv_BLS), layer=1).numpy()
    np.testing.assert_allclose(file.forward_features(signal_mv_BLS), expected, rtol=0, atol=1e-5)
    assert not any("blocks.1" in weights.name for weights in onnx.load(tmp_path / "layer.onnx").graph.initializer)


def test_the_file_says_what_it_is(exported: Exported) -> None:
    session = onnxruntime.InferenceSession(exported.file, providers=["CPUExecutionProvider"])
    found = session.get_modelmeta().custom_metadata_map
    assert SignalContract.from_dict(json.loads(found["contract"])) == exported.encoder.contract
    assert found["weights_sha256"] == exported.encoder.weights_sha256()
    notes = json.loads(found["notes"])
    assert (notes["seed"], notes["steps"], notes["provenance"]["network"]) == (7, 11, "teacher")
    assert [value.name for value in session.get_inputs()] == list(json.loads(found["inputs"]))
    assert [value.name for value in session.get_outputs()] == list(json.loads(found["outputs"]))
    assert [value.shape for value in session.get_inputs()] == [["batch", "leads", "samples"], ["leads"]]
    file = OnnxEncoder(exported.file)
    assert (file.sizes["width"], file.sizes["heads"], file.sizes["layer"], file.patch_samples) == (16, 2, None, 50)
    assert file.notes == notes
    assert re.search(r"encoder\.onnx: \d\.\d MB, teacher of .*, at most \d\.\de-\d\d from the encoder\n", exported.said)


def test_no_path_of_this_machine_is_in_the_file(exported: Exported) -> None:
    content = exported.file.read_bytes()
    for path in (Path(__file__).parents[1], Path(torch.__file__).parents[1], exported.model):
        assert str(path).encode() not in content
    assert b".py" not in content
    onnx.checker.check_model(exported.file, full_check=True)


def test_other_numbers_are_found_and_nothing_is_written(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, broken = make_encoder(4), make_encoder(1)
    with pytest.raises(ExportError, match=r"other numbers: embedding off by .* 4 records of 1 patches of leads V6;"):
        check_parity(exported.file, other)
    with torch.no_grad():
        broken.norm.bias[0] = torch.nan
    with pytest.raises(ExportError, match="embedding off by nan"):
        check_parity(exported.file, broken)
    model = onnx_ir.load(exported.file)
    program = SimpleNamespace(model=model, save=lambda path, external_data: onnx_ir.save(model, path))
    monkeypatch.setattr(onnx_file, "_trace", lambda *_: program)
    (tmp_path / "old.onnx").write_bytes(b"kept")
    for name in ("old.onnx", "new.onnx"):
        with pytest.raises(ExportError, match="other numbers"):
            export_onnx(other, tmp_path / name, overwrite=True)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("old.onnx", b"kept")]
    assert export_onnx(exported.encoder, tmp_path / "old.onnx", overwrite=True) <= 1e-4


def test_the_comparison_covers_leads_order_lengths_and_batches() -> None:
    compared = list(cases(LEADS, 50))
    assert {len(leads) for _, leads, _ in compared} == {1, 2, 8}
    assert ("II", "I") in {leads for _, leads, _ in compared}
    assert {patches for _, _, patches in compared} == {1, 5, 25, 50}
    assert {records for records, _, _ in compared} == {1, 2, 3, 4}
    assert list(cases(("II",), 1)) == [(records, ("II",), 1) for records in (4, 2, 1, 1, 4, 2, 1, 3, 1, 2)]
    ecg_mv_BLS = ecg_like((3, 8, 2500), 250, np.random.default_rng(0))
    assert np.isfinite(ecg_mv_BLS).all()
    assert 0.1 < np.median(np.ptp(ecg_mv_BLS, axis=-1)) < 3


def test_input_that_does_not_fit_is_refused_by_name(exported: Exported) -> None:
    file = OnnxEncoder(exported.file, threads=1)
    ones = np.ones((1, 2, 250), dtype=np.float32)
    refused = [
        (ones, ("II", "V9"), r"distinct ones of .*'V9'"),
        (ones, ("II", "II"), "distinct"),
        (ones, ("II",), r"\(records, 1 leads, 2500 samples"),
        (ones[:, :, :249], ("I", "II"), r"whole patches of 50\), found \(1, 2, 249\)"),
        (np.ones((1, 2, 2550), dtype=np.float32), ("I", "II"), "found"),
        (ones * np.nan, ("I", "II"), "not finite"),
    ]
    for signal_mv_BLS, leads, message in refused:
        with pytest.raises(ValueError, match=message):
            file.forward(signal_mv_BLS, leads)


@pytest.mark.parametrize(
    ("shape", "lead"),
    [((1, 2, 250), [0]), ((1, 1, 250), [0, 1]), ((1, 2, 250), [0, 8]), ((1, 2, 249), [0, 1]), ((1, 2, 2550), [0, 1])],
    ids=["one index for two rows", "two for one", "no such lead", "part of a patch", "too long"],
)
def test_the_graph_itself_refuses_what_does_not_fit(
    exported: Exported, shape: tuple[int, ...], lead: list[int]
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(exported.file, options, providers=["CPUExecutionProvider"])
    inputs = {"signal_mv": np.ones(shape, dtype=np.float32), "lead": np.array(lead, dtype=np.int64)}
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, inputs)


def test_errors_of_the_command_are_one_line(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = exported.model
    assert "ends in .onnx" in failed("export", model, tmp_path / "encoder.pt2")
    assert "exists already; --overwrite" in failed("export", model, exported.file)
    assert "no folder" in failed("export", model, tmp_path / "nowhere" / "encoder.onnx")
    (tmp_path / "folder.onnx").mkdir()
    assert "is a folder" in failed("export", model, tmp_path / "folder.onnx", "--overwrite")
    assert "no model at" in failed("export", tmp_path, tmp_path / "encoder.onnx")
    assert "layer: expected 1 to 1, found 2" in failed("export", model, tmp_path / "encoder.onnx", "--layer", 2)
    monkeypatch.setattr(onnx_file, "LARGEST_BYTES", 1000)
    assert "expected at most" in failed("export", model, tmp_path / "encoder.onnx")
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "no permission" in failed("export", model, tmp_path / "encoder.onnx")
    monkeypatch.undo()
    for package in ("onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            said = failed("export", model, tmp_path / "encoder.onnx")
            assert f"{package} is not installed: pip install 'ecgjepa[onnx]'" in said
    assert [file.name for file in tmp_path.iterdir()] == ["folder.onnx"]


def test_files_that_are_no_exported_encoder(exported: Exported, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        OnnxEncoder(tmp_path / "nowhere.onnx")
    (tmp_path / "cut.onnx").write_bytes(exported.file.read_bytes()[:1000])
    with pytest.raises(ExportError, match=r"cut\.onnx cannot be read by onnxruntime"):
        OnnxEncoder(tmp_path / "cut.onnx")
    model = onnx.load(exported.file)
    properties = {entry.key: entry for entry in model.metadata_props}
    for key, value, message in (
        ("contract", "{}x", "description in the file cannot be read"),
        ("contract", '{"leads": ["X9"]}', "description in the file cannot be read"),
        ("ecgjepa_format", "2", "format 2 of exported encoders, expected 1"),
        ("ecgjepa_format", None, "format none of exported encoders"),
    ):
        if value is None:
            model.metadata_props.remove(properties[key])
        else:
            properties[key].value = value
        onnx.save(model, tmp_path / "other.onnx")
        with pytest.raises(ExportError, match=message):
            OnnxEncoder(tmp_path / "other.onnx")


def test_a_missing_onnxruntime_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'ecgjepa\[onnx\]'"):
        onnx_encoder.open_session(exported.file)


def test_the_documented_example_needs_numpy_and_onnxruntime_only(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, _ = EXAMPLES
    assert set(re.findall(r"^(?:import|from) (\w+)", alone, re.MULTILINE)) == {"json", "numpy", "onnxruntime"}
    monkeypatch.chdir(exported.file.parent)
    names: dict[str, object] = {}
    exec(alone, names)
    with torch.no_grad():
        signal_mv_BLS = torch.from_numpy(names["inputs"]["signal_mv"])  # type: ignore[index]
        expected_BD = exported.encoder(signal_mv_BLS, ["II", "V1"]).numpy()
    np.testing.assert_allclose(names["embedding"], expected_BD, rtol=0, atol=1e-5)


def test_the_documented_way_from_a_file_imports_no_torch(exported: Exported, tmp_path: Path) -> None:
    _, with_package = EXAMPLES
    write_ptbxl_archive(tmp_path / "ptbxl", 1, seed=0)
    record = next(tmp_path.rglob("*_hr.hea"))
    check = "import sys; assert 'torch' not in sys.modules; print(embedding.shape, one_lead.shape, tokens.shape)"
    code = with_package.replace("encoder.onnx", str(exported.file)).replace("record.hea", str(record)) + check
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "(1, 16) (1, 16) (1, 8, 50, 16)\n", done.stderr


def test_reloaded_weights_are_those_that_were_exported(exported: Exported) -> None:
    assert OnnxEncoder(exported.file).weights_sha256 == load_encoder(exported.model).weights_sha256()
