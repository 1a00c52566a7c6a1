"""What broke the server once: bodies that stop it, clients that do not read, archives that changed, full disks."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from ecgjepa.checkpoint import load_encoder
from ecgjepa.embed.entries import Entry
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.errors import RefusedRecordError
from ecgjepa.search import SearchIndex
from ecgjepa.serve.archive import Archive, read_row
from ecgjepa.serve.gate.work import LimitAtOnce
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.private_folder import LOCK, PrivateFolder
from ecgjepa.serve.reading.uploads import OwnFile, UploadedFile
from ecgjepa.serve.served import Served, ServeError
from tests.serve.conftest import SMALL, Material

JSON = {"content-type": "application/json"}


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


def test_a_million_wrong_rows_are_one_error_and_a_large_body_none(client: TestClient, limits: Limits) -> None:
    for wrong in (b'{"rows":[%b0]}' % (b'"a",' * 100_000), b'{"polygon":[%b[0,0]]}' % (b"[0]," * 100_000)):
        answer = client.post("/api/groups", content=wrong, headers=JSON)
        assert refusal(answer) == (422, "wrong_parameter")
        assert "more)" not in answer.text or "(and 1 more)" in answer.text
        assert len(answer.content) < 500
    large = b" " * (limits.max_json_bytes + 1)
    assert refusal(client.post("/api/groups", content=large, headers=JSON)) == (413, "too_large")
    assert refusal(client.post("/api/ecgs", content=large)) == (413, "too_large")


def test_what_the_framework_would_answer_has_a_reason_too(client: TestClient) -> None:
    assert client.get("/", headers={"range": "bytes=a-b"}).status_code == 200
    assert refusal(client.get("/api/about/", follow_redirects=False)) == (404, "not_found")
    both = {**JSON, "content-length": "12", "transfer-encoding": "chunked"}
    assert refusal(client.post("/api/groups", content=b'{"rows":[0]}', headers=both)) == (400, "malformed_request")


def test_who_does_not_read_the_answer_keeps_no_place() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask(gate: LimitAtOnce, reads: asyncio.Event) -> None:
        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.body":
                await reads.wait()

        await gate({"type": "http", "method": "POST", "path": "/"}, receive, send)

    async def main() -> None:
        gate = LimitAtOnce(app, Limits(at_once=1, queue=1))
        late, now = asyncio.Event(), asyncio.Event()
        now.set()
        slow = asyncio.create_task(ask(gate, late))
        await asyncio.sleep(0)
        await asyncio.wait_for(ask(gate, now), 1)
        assert not slow.done()
        late.set()
        await slow
        await asyncio.wait_for(ask(gate, now), 1)
        assert gate.under_way == 0

    asyncio.run(main())


def test_an_index_of_another_layer_is_refused(material: Material, tmp_path: Path) -> None:
    encoder = load_encoder(material.ckpt)
    embed_files(encoder, material.store, tmp_path / "e.parquet", layer=1, progress=False)
    with pytest.raises(ServeError, match="embeddings of layer 1, expected those of the encoder's output"):
        Served.load(material.ckpt, index=tmp_path / "e.parquet", device="cpu", tell=lambda line: None)


def test_no_ecg_is_drawn_under_the_name_of_another(material: Material, tmp_path: Path) -> None:
    changed = shutil.copytree(material.store, tmp_path / "changed")
    row = replace(SearchIndex.open(material.index).records([2])[0], path=str(changed))
    table = pq.read_table(changed / "records.parquet")
    order = [1, 2, 3, 0, *range(4, len(table))]
    pq.write_table(table.take(order), changed / "records.parquet")
    assert Archive.open([]).locate(row) is None, "row 2 of the store holds another record by now"
    found = Archive.open([material.store]).locate(row)
    assert found is not None
    assert found.path == str(material.store)
    other = replace(row, path="gone", store_row=None, source="another")
    assert Archive.open([material.store]).locate(other) is None, "of this name, but of another source"


def test_a_refusal_does_not_say_where_the_archive_lies(material: Material, tmp_path: Path) -> None:
    row = SearchIndex.open(material.index).records([0])[0]
    entry = Entry(row.record, str(tmp_path / "gone"), 0)
    with pytest.raises(RefusedRecordError) as refused:
        read_row(entry, row, load_encoder(material.ckpt).contract, SMALL.patch_samples)
    assert "gone" in refused.value.detail
    assert str(tmp_path) not in refused.value.detail


def test_nothing_of_an_upload_is_left_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    folder = PrivateFolder()
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with (tmp_path / "sent").open("w+b") as sent, pytest.raises(OSError, match="No space"):
        folder.write([UploadedFile("a.csv", sent)], [OwnFile("ecg-0000.csv", "a.csv", 0)])
    assert [each.name for each in folder.path.iterdir()] == [LOCK]
    folder.close()


def test_sigterm_cleans_up_before_it_ends() -> None:
    program = (
        "import os, signal\nfrom ecgjepa.serve.server import cleaning_up\nwith cleaning_up():\n try:\n"
        "  os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n finally:\n  print('cleaned', flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env={**os.environ}
    )
    assert ended.stdout.split() == ["cleaned"]
    assert ended.returncode == -signal.SIGTERM
