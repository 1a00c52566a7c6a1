"""Encoders of any origin: a module, an ONNX file, own code; and what is refused with a name."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecgjepa.checkpoint import random_twin, save_model
from ecgjepa.evaluate.encoders import (
    FrozenEncoder,
    OnnxEncoder,
    TorchEncoder,
    check_encoder,
    fingerprint_of,
    from_factory,
    gives_tokens,
    open_encoder,
    random_twin_of,
)
from ecgjepa.evaluate.features import embed_rows
from ecgjepa.model.encoder import Encoder

from .fakes import CONTRACT, MODEL, make_store


class Net(nn.Module):
    """Convolution, batch norm, mean over time: 3 features."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(2, 3, 3, padding=1), nn.BatchNorm1d(3)

    def forward(self, signal):
        return self.tokens(signal).mean(dim=1)

    def tokens(self, signal):
        return self.norm(self.conv(signal)).mT


def torch_encoder(tokens=False):
    net = Net()
    net.norm.running_mean += 1
    return TorchEncoder(net, CONTRACT, 3, net.tokens if tokens else None)


def write_onnx(path, nodes, inputs, outputs, initializers=()):
    """A small graph of (operator, inputs, outputs, attributes)."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    values = [[helper.make_tensor_value_info(*each) for each in part] for part in (inputs, outputs)]
    made = [helper.make_node(operator, *names, **attributes) for operator, *names, attributes in nodes]
    graph = helper.make_graph(made, "g", *values, [onnx.numpy_helper.from_array(v, n) for n, v in initializers])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    return path


def write_mean(path, batch="n", leads="l", samples="s", outputs=("features",), kind=1):
    """The mean over time of every lead, 2 features."""
    nodes = [("ReduceMean", ["signal"], [name], {"axes": [2], "keepdims": 0}) for name in outputs]
    described = [(name, kind, [batch, leads]) for name in outputs]
    return write_onnx(path, nodes, [("signal", kind, [batch, leads, samples])], described)


def test_ours_is_a_frozen_encoder():
    encoder = Encoder(MODEL, CONTRACT)
    assert isinstance(encoder, FrozenEncoder)
    assert gives_tokens(encoder)
    assert encoder.width == 8
    assert encoder.tokens(torch.zeros(3, 2, 10)).shape == (3, 4, 8)
    other = Encoder(encoder.config, replace(encoder.contract, resampling="fft"))
    other.load_state_dict(encoder.state_dict())
    assert other.weights_sha256() == encoder.weights_sha256()
    assert fingerprint_of(other) != fingerprint_of(encoder)
    check_encoder(encoder, "ours")


def test_a_module_is_run_in_evaluation_mode_and_its_mode_is_given_back():
    store, encoder = make_store(5), torch_encoder().train()
    features = embed_rows(encoder, store, range(5), batch_size=2, progress=False)
    assert encoder.module.training
    with torch.no_grad():
        expected = encoder.module.eval()(torch.from_numpy(store.signals_mv(range(5)))).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert isinstance(encoder, FrozenEncoder)
    assert not gives_tokens(encoder)
    assert gives_tokens(torch_encoder(tokens=True))


def test_a_module_of_another_width_is_an_error():
    encoder = TorchEncoder(Net(), CONTRACT, 4)
    with pytest.raises(ValueError, match=r"Net: features of shape \(2, 3\), expected \(2, 4\)"):
        embed_rows(encoder, make_store(5), range(2), progress=False)


def test_random_twins():
    ours = Encoder(MODEL, CONTRACT)
    assert random_twin_of(ours, 3).weights_sha256() == random_twin(ours, 3).weights_sha256()
    encoder = torch_encoder(tokens=True)
    before, state = encoder.weights_sha256(), torch.random.get_rng_state()
    twin = random_twin_of(encoder, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert encoder.weights_sha256() == before
    assert twin.weights_sha256() == random_twin_of(encoder, 3).weights_sha256()
    assert len({before, twin.weights_sha256(), random_twin_of(encoder, 4).weights_sha256()}) == 3
    assert (twin.module.norm.running_mean == 0).all()
    signal = torch.ones(2, 2, 10)
    torch.testing.assert_close(twin.eval().tokens(signal).mean(dim=1), twin(signal))


def test_no_random_twin_where_a_layer_cannot_be_reset():
    net = Net()
    net.scale = nn.Parameter(torch.ones(3))
    assert random_twin_of(TorchEncoder(net, CONTRACT, 3), 0) is None
    other = Net()
    assert random_twin_of(TorchEncoder(Net(), CONTRACT, 3, other.tokens), 0) is None


@pytest.mark.parametrize("batch", ["n", 4, 1])
def test_a_foreign_onnx_file_with_any_or_a_fixed_batch(tmp_path, batch):
    store, encoder = make_store(7), OnnxEncoder(write_mean(tmp_path / "mean.onnx", batch), CONTRACT)
    assert isinstance(encoder, FrozenEncoder)
    assert (encoder.width, gives_tokens(encoder), encoder.contract) == (2, False, CONTRACT)
    features = embed_rows(encoder, store, range(7), batch_size=6, progress=False)
    np.testing.assert_allclose(features, store.signals_mv(range(7)).mean(axis=2), atol=1e-6)
    assert random_twin_of(encoder, 0) is None
    assert len(fingerprint_of(encoder)) == 64
    check_encoder(encoder, "mean.onnx")


def test_the_output_by_name_or_the_only_one_of_two_axes(tmp_path):
    two = write_mean(tmp_path / "two.onnx", outputs=("a", "b"))
    with pytest.raises(ValueError, match=r"two.onnx: outputs a \['n', 'l'\], b \['n', 'l'\], expected one of two axes"):
        OnnxEncoder(two, CONTRACT)
    assert OnnxEncoder(two, CONTRACT, output="b").width == 2
    with pytest.raises(ValueError, match=r"two.onnx: no output 'c', found a"):
        OnnxEncoder(two, CONTRACT, output="c")
    nodes = [("ReduceMean", ["x"], ["f"], {"axes": [2], "keepdims": 0}), ("Abs", ["x"], ["t"], {})]
    path = write_onnx(
        tmp_path / "more.onnx", nodes, [("x", 1, ["n", 2, 10])], [("t", 1, ["n", 2, 10]), ("f", 1, ["n", 2])]
    )
    assert OnnxEncoder(path, CONTRACT).width == 2
    with pytest.raises(ValueError, match=r"output t of shape \(1, 2, 10\), expected \(records, D\)"):
        OnnxEncoder(path, CONTRACT, output="t")


def test_what_a_foreign_onnx_file_must_be(tmp_path):
    with pytest.raises(ValueError, match=r"says no contract: give one .*--contract FILE.json"):
        OnnxEncoder(write_mean(tmp_path / "a.onnx"))
    wanted = r"expected one input tensor\(float\) of \(records, 2 leads, 10 samples\)"
    with pytest.raises(ValueError, match=rf"b.onnx: input signal .*\['n', 12, 10\], {wanted}"):
        OnnxEncoder(write_mean(tmp_path / "b.onnx", leads=12, samples=10), CONTRACT)
    with pytest.raises(ValueError, match=rf"c.onnx: inputs signal tensor\(double\).*{wanted}"):
        OnnxEncoder(write_mean(tmp_path / "c.onnx", kind=11), CONTRACT)
    flat = write_onnx(tmp_path / "d.onnx", [("Abs", ["x"], ["y"], {})], [("x", 1, ["n", 20])], [("y", 1, ["n", 20])])
    with pytest.raises(ValueError, match=rf"d.onnx: inputs x .*{wanted}"):
        OnnxEncoder(flat, CONTRACT)
    encoder = OnnxEncoder(write_mean(tmp_path / "e.onnx"), CONTRACT)
    with pytest.raises(ValueError, match=r"e.onnx: signal of shape \(1, 2, 9\), expected \(records, 2 leads, 10 sa"):
        encoder(torch.zeros(1, 2, 9))
    (tmp_path / "f.onnx").write_bytes(b"not onnx")
    with pytest.raises(ValueError, match=r"f.onnx cannot be read by onnxruntime"):
        OnnxEncoder(tmp_path / "f.onnx", CONTRACT)
    with pytest.raises(FileNotFoundError, match=r"g.onnx"):
        OnnxEncoder(tmp_path / "g.onnx", CONTRACT)


def test_a_graph_that_does_not_run_is_named(tmp_path):
    nodes = [("MatMul", ["x", "w"], ["y3"], {}), ("ReduceMean", ["y3"], ["y"], {"axes": [2], "keepdims": 0})]
    weights = [("w", np.ones((9, 2), np.float32))]
    path = write_onnx(tmp_path / "a.onnx", nodes, [("x", 1, ["n", "l", "s"])], [("y", 1, ["n", "l"])], weights)
    with pytest.raises(ValueError, match=r"a.onnx: onnxruntime cannot run it on signals of \(1, 2, 10\)"):
        OnnxEncoder(path, CONTRACT)


@pytest.mark.slow
def test_an_exported_file_says_its_contract_and_gives_the_same_features(tmp_path):
    export = pytest.importorskip("ecgjepa.export.onnx_file")
    pytest.importorskip("onnxscript")
    encoder, store, path = random_twin(Encoder(MODEL, CONTRACT), 1), make_store(5), tmp_path / "ours.onnx"
    export.export_onnx(encoder, path)
    opened = open_encoder(path)
    assert (opened.name, opened.network, opened.encoder.contract, opened.encoder.width) == ("ours", "onnx", CONTRACT, 8)
    expected = embed_rows(encoder, store, range(5), pooling="mean_std", progress=False)
    found = embed_rows(opened.encoder, store, range(5), pooling="mean_std", batch_size=2, progress=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(embed_rows(opened.encoder, store, range(5), progress=False), expected[:, :8], atol=1e-5)
    with pytest.raises(ValueError, match="the file was exported with"):
        OnnxEncoder(path, replace(CONTRACT, resampling="fft"))
    with pytest.raises(ValueError, match="output 'x', expected embedding"):
        OnnxEncoder(path, output="x")


def test_contract_from_a_file(tmp_path):
    path, contract = write_mean(tmp_path / "m.onnx"), tmp_path / "contract.json"
    contract.write_text(json.dumps({"leads": ["I", "II"], "sampling_rate_hz": 10, "seconds": 1}))
    opened = open_encoder(path, contract=contract)
    assert opened.encoder.contract == CONTRACT
    assert opened.fingerprint == fingerprint_of(opened.encoder)
    for text, message in (("{", "contract.json: "), ("[]", "expected an object"), ('{"rate": 1}', "unknown keys")):
        contract.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_encoder(path, contract=contract)
    with pytest.raises(FileNotFoundError, match=r"no contract at .*nowhere.json"):
        open_encoder(path, contract=tmp_path / "nowhere.json")


def test_a_model_of_ours(tmp_path):
    encoder = Encoder(MODEL, CONTRACT)
    save_model(tmp_path / "run" / "model", {"student": encoder}, seed=5)
    opened = open_encoder(tmp_path / "run")
    assert (opened.name, opened.network, opened.source) == ("run", "student", str(tmp_path / "run"))
    assert opened.fingerprint == fingerprint_of(encoder)
    assert opened.loaded.notes["seed"] == 5
    file = open_encoder(str(tmp_path / "run" / "model" / "student.safetensors"))
    assert (file.name, file.fingerprint) == ("run", opened.fingerprint)
    with pytest.raises(ValueError, match="no model at"):
        open_encoder(tmp_path / "nowhere")


FACTORY = """
import torch
from ecgjepa.signal import SignalContract

class Mean:
    contract, width = SignalContract(leads=("I", "II"), sampling_rate_hz=10, seconds=1), 2
    def __call__(self, signal): return signal.mean(dim=2)
    def to(self, device): return self

def good(): return Mean()

class Wide(Mean):
    width = 3
def wide(): return Wide()

class Sick(Mean):
    def __call__(self, signal): return signal.mean(dim=2) / 0
def sick(): return Sick()

class Bare:
    width = 2
def bare(): return Bare()

class Tokens(Mean):
    def tokens(self, signal): return signal
def tokens(): return Tokens()

class Array(Mean):
    def __call__(self, signal): return signal.numpy().mean(axis=2)
def array(): return Array()

number = 3
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "own_encoders_of_a_test").mkdir()
    (tmp_path / "own_encoders_of_a_test" / "nets.py").write_text(FACTORY)
    (tmp_path / "own_encoders_of_a_test" / "needy.py").write_text("import a_package_that_is_not_there")
    monkeypatch.chdir(tmp_path)
    yield "own_encoders_of_a_test.nets"
    for name in [name for name in sys.modules if name.startswith("own_encoders_of_a_test")]:
        del sys.modules[name]


def test_own_code_in_the_current_folder(factory):
    path = list(sys.path)
    opened = open_encoder(f"{factory}:good")
    assert (opened.name, opened.network, opened.fingerprint) == (f"{factory}.good", "factory", None)
    assert sys.path == path
    store = make_store(4)
    features = embed_rows(opened.encoder, store, [2, 0], progress=False)
    np.testing.assert_allclose(features, store.signals_mv([2, 0]).mean(axis=2), atol=1e-6)
    assert random_twin_of(opened.encoder, 0) is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("missing", r"no function missing in .*nets.py"),
        ("number", r"no function number in"),
        ("wide", r"features of shape \(2, 2\), expected \(2, 3\)"),
        ("sick", "features that are not finite"),
        ("bare", "found Bare without contract and __call__ and to"),
        ("tokens", r"tokens of shape \(2, 2, 10\), expected \(2, tokens, 2\)"),
        ("array", r"features are ndarray, expected a tensor \(2, 2\)"),
    ],
)
def test_own_code_that_gives_no_encoder(factory, function, message):
    with pytest.raises(ValueError, match=message):
        from_factory(f"{factory}:{function}")


def test_a_module_that_is_not_there_or_lacks_a_package(factory):
    with pytest.raises(ValueError, match=r"no module own_encoders_of_a_test.nowhere"):
        from_factory("own_encoders_of_a_test.nowhere:good")
    with pytest.raises(ValueError, match=r"expected package.module:function"):
        from_factory("no function")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        from_factory("own_encoders_of_a_test.needy:good")
    with pytest.raises(ValueError, match="a contract is given for an ONNX file only"):
        open_encoder(f"{factory}:good", contract=CONTRACT)


def test_without_onnxruntime_nothing_else_fails():
    code = "import sys; sys.modules['onnxruntime'] = None; import ecgjepa.evaluate.encoders"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0
