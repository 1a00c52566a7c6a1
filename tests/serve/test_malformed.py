"""Whatever is sent: a 4xx that says why, never a 500, a hang, a lost process or a file that stays."""

import json
import os
import random
import signal
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.readers import SUFFIXES
from tests.data.malformed import KINDS, make_ground
from tests.data.malformed_kind import Ground, Kind
from tests.serve.conftest import Material

Files = Sequence[tuple[str, bytes]]
BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
GARBAGE = (
    b"\x89PNG\r\n\x1a\n" + bytes(100),
    b"%PDF-1.7\n" + b"a" * 200,
    b"MZ\x90\0" + bytes(300),
    b"PK\x03\x04" + b"\xff" * 200,
    b"<html><script>alert(1)</script></html>",
    b"{}",
    b"\0" * 1000,
    b"\xff\xfe\xfd" * 333,
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return make_ground(tmp_path_factory.mktemp("samples") / "outside")


@pytest.fixture
def unharmed(app: FastAPI, client: TestClient) -> Iterator[None]:
    """Afterwards nothing lies about, nothing is open, and the reader has lived."""
    readers = app.state.serving.readers
    client.post("/api/ecgs", files=[("files", ("x.h5", b""))])
    before, opened = (readers.pids, readers.replaced), len(os.listdir("/proc/self/fd"))
    yield
    assert (readers.pids, readers.replaced) == before
    assert os.listdir(readers.folder) == ["lock"]
    assert len(os.listdir("/proc/self/fd")) <= opened + 2
    assert client.get("/readyz").status_code == 200


def send(client: TestClient, files: Files, fields: dict[str, Any] | None = None, path: str = "/api/ecgs") -> Any:
    return client.post(path, files=[("files", file) for file in files], data=fields or {})


def complaint(answer: Any, allowed: range = range(400, 500)) -> str | None:
    """What is wrong with an answer, if anything is."""
    if answer.status_code in range(200, 300) and 200 in allowed:
        return None
    try:
        problem = answer.json()["error"]
        said = problem["reason"] and problem["detail"] and set(problem) == {"reason", "detail", "record"}
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"{answer.status_code} {answer.text[:200]}"
    leaks = "ecgjepa-serve" in answer.text or "Traceback" in answer.text
    good = answer.status_code in allowed and said and not leaks and len(problem["detail"]) <= 700
    return None if good else f"{answer.status_code} {answer.text[:300]}"


def fields_of(hints: Hints, row: int | None) -> dict[str, Any]:
    told = {
        "sampling_rate_hz": hints.sampling_rate_hz,
        "unit": hints.unit,
        "gain_per_mv": hints.gain_per_mv,
        "row": row,
    }
    told["leads"] = None if hints.leads is None else ",".join(hints.leads)
    return {key: str(value) for key, value in told.items() if value is not None}


def files_of(kind: Kind, folder: Path, ground: Ground) -> Files:
    """The files of a kind that can be sent: no folders, no links, none of gigabytes."""
    folder.mkdir()
    made = kind.make(folder, ground)
    found = [path for path in sorted(folder.iterdir()) if stat.S_ISREG(path.lstat().st_mode)]
    small = [path for path in found if path.stat().st_size < 2**22]
    return [(os.fsencode(path.name).decode("latin-1"), path.read_bytes()) for path in small if made in (path, *small)]


def send_kinds(client: TestClient, kinds: Sequence[Kind], folder: Path, ground: Ground) -> int:
    wrong, sent = [], 0
    for number, kind in enumerate(kinds):
        files = files_of(kind, folder / str(number), ground)
        if not files:
            continue
        sent += 1
        # What `read` takes and `standardize` refuses may be embedded in part.
        allowed = range(200, 500) if kind.by_contract else range(400, 500)
        began = time.monotonic()
        told = complaint(send(client, files, fields_of(kind.hints, kind.row)), allowed)
        if told or time.monotonic() - began > 15:
            wrong.append(f"{kind}: {told} after {time.monotonic() - began:.1f} s")
    assert not wrong, "\n".join(wrong)
    return sent


@pytest.mark.usefixtures("unharmed")
def test_files_that_are_malformed_are_refused(client: TestClient, tmp_path: Path, ground: Ground) -> None:
    assert send_kinds(client, KINDS[::3], tmp_path, ground) > 150


@pytest.mark.slow
@pytest.mark.usefixtures("unharmed")
def test_all_files_that_are_malformed_are_refused(client: TestClient, tmp_path: Path, ground: Ground) -> None:
    assert send_kinds(client, KINDS, tmp_path, ground) > 500


@pytest.mark.usefixtures("unharmed")
def test_what_is_of_another_type_is_refused(client: TestClient) -> None:
    wrong = []
    for suffix in sorted(SUFFIXES):
        for number, garbage in enumerate(GARBAGE):
            if told := complaint(send(client, [(f"x{suffix}", garbage)])):
                wrong.append(f"{suffix} {number}: {told}")
    for name in (
        "x.exe",
        "x",
        "x.dat",
        "x.mat",
        "x.gz",
        "x.zip",
        ".",
        "..",
        "/",
        "a/b/",
        "x.hea.exe",
        "CON",
        "x.csv\0.exe",
    ):
        if told := complaint(send(client, [(name, b"I,II\n1,2\n")])):
            wrong.append(f"{name}: {told}")
    assert not wrong, "\n".join(wrong)
    assert send(client, [("x.exe", b"abc")]).status_code == 415


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A file that was cut, filled, turned over in some bits, or had a piece taken from elsewhere in it."""
    turned = bytearray(content)
    how = chance.randrange(4)
    if how == 0:
        return content[: chance.randrange(len(content))]
    place = chance.randrange(len(content))
    if how == 1:
        return content[:place] + chance.randbytes(chance.choice((1, 10, 1000))) + content[place:]
    if how == 2:
        for _ in range(chance.choice((1, 10, 200))):
            turned[chance.randrange(min(len(turned), chance.choice((100, 10**9))))] ^= 1 << chance.randrange(8)
        return bytes(turned)
    start = chance.randrange(len(content))
    turned[place : place + 50] = content[start : start + 50]
    return bytes(turned)


def send_damaged(client: TestClient, ground: Ground, seeds: range) -> None:
    names = sorted(name for name in ground.files if any(name.endswith(suffix) for suffix in SUFFIXES))
    wrong = []
    for seed in seeds:
        chance = random.Random(seed)
        name = chance.choice(names)
        stem = name.rpartition(".")[0]
        beside = [each for each in (f"{stem}.dat", f"{stem}.mat") if name.endswith(".hea") and each in ground.files]
        hit = chance.choice([name, *beside])
        files = [(each, ground.files[each]) for each in [name, *beside]]
        files = [(each, damaged(content, chance) if each == hit else content) for each, content in files]
        path = chance.choice(("/api/ecgs", "/api/ecgs/batch"))
        if told := complaint(send(client, files, {"windows": chance.choice(("first", "mean"))}, path), range(200, 500)):
            wrong.append(f"seed {seed}, {hit}: {told}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("unharmed")
def test_files_that_are_damaged_are_read_or_refused(client: TestClient, ground: Ground) -> None:
    send_damaged(client, ground, range(60))


@pytest.mark.slow
@pytest.mark.usefixtures("unharmed")
def test_many_files_that_are_damaged_are_read_or_refused(client: TestClient, ground: Ground) -> None:
    send_damaged(client, ground, range(60, 2000))


def part(
    headers: str = 'Content-Disposition: form-data; name="files"; filename="x.csv"', body: bytes = b"I\n1\n"
) -> bytes:
    return f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode("latin-1") + body + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()
FIELD = 'Content-Disposition: form-data; name="row"'
BROKEN = {
    "nothing": (FORM, b""),
    "end alone": (FORM, END),
    "no end": (FORM, part()),
    "another boundary": (FORM, part().replace(BOUNDARY.encode(), b"other") + b"--other--\r\n"),
    "no boundary named": ("multipart/form-data", part() + END),
    "an empty boundary": ("multipart/form-data; boundary=", part() + END),
    "a boundary of 300": (f"multipart/form-data; boundary={'b' * 300}", part() + END),
    "no name": (FORM, part('Content-Disposition: form-data; filename="x.csv"') + END),
    "no disposition": (FORM, part("Content-Type: text/csv") + END),
    "no headers": (FORM, part("") + END),
    "a header of 10 kB": (FORM, part("X: " + "a" * 10_000) + END),
    "a hundred headers": (FORM, part("\r\n".join(f"X-{k}: a" for k in range(100))) + END),
    "a header with NUL": (FORM, part("X\0Y: a") + END),
    "line feeds alone": (FORM, (part() + END).replace(b"\r\n", b"\n")),
    "no file": (FORM, part(FIELD, b"1") + END),
    "a text in place of a file": (FORM, part('Content-Disposition: form-data; name="files"', b"abc") + END),
    "10,000 parts": (FORM, part() * 10_000 + END),
    "10,000 fields": (FORM, part(FIELD, b"1") * 10_000 + END),
    "a field of 1 MB": (FORM, part() + part(FIELD, b"1" * 2**20) + END),
    "an ending too many": (FORM, part() + END + part() + END),
    "a mail in a mail": ("multipart/mixed; boundary=b", part() + END),
    "JSON": ("application/json", b'{"files": ["x"]}'),
    "a form of another kind": ("application/x-www-form-urlencoded", b"files=abc"),
    "text": ("text/plain", b"abc"),
    "no type": ("", b"abc"),
    "a type that is none": ("multipart/form-data; boundary*=utf-8''%00", part() + END),
    "a charset that is none": (FORM + "; charset=\\x00", part() + END),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("what", BROKEN)
def test_forms_that_are_broken_are_refused(client: TestClient, what: str) -> None:
    kind, content = BROKEN[what]
    for path in ("/api/ecgs", "/api/ecgs/batch", "/api/ecgs/occlusion"):
        answer = client.post(path, content=content, headers={"content-type": kind})
        assert (path.endswith("batch") and answer.status_code == 200) or complaint(answer) is None


@pytest.mark.usefixtures("unharmed")
def test_forms_that_are_cut_anywhere_are_refused(client: TestClient, material: Material) -> None:
    header = material.headers[0]
    whole = b"".join(
        part(f'Content-Disposition: form-data; name="files"; filename="{path.name}"', path.read_bytes())
        for path in (header, header.with_suffix(".dat"))
    )
    headers = {"content-type": FORM}
    assert client.post("/api/ecgs", content=whole + END, headers=headers).status_code == 200
    cuts = [*range(1, 200, 10), *range(200, len(whole), len(whole) // 20), len(whole), len(whole) + len(END) - 4]
    wrong = [
        (cut, told)
        for cut in cuts
        if (told := complaint(client.post("/api/ecgs", content=(whole + END)[:cut], headers=headers)))
    ]
    assert not wrong
    for seed in range(20):
        content = damaged(whole + END, random.Random(seed))
        assert complaint(client.post("/api/ecgs", content=content, headers=headers), range(200, 500)) is None


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("row", ("-1", "x", "1e3", "99999999999999999999", "\0", "0")),
        ("sampling_rate_hz", ("nan", "inf", "0", "-500", "1e99", "x")),
        ("gain_per_mv", ("nan", "-1", "0", "inf")),
        ("unit", ("parsec", "\0", "m" * 500)),
        ("leads", (",", "I,I", "I," * 300)),
        ("windows", ("all", "FIRST")),
        ("neighbours", ("-1", "101", "x", "1.5")),
        ("age_min", ("nan", "-1", "300")),
        ("label", ("no such label",)),
        ("signal", ("perhaps",)),
    ],
)
def test_fields_that_cannot_be_are_refused(
    client: TestClient, material: Material, field: str, values: tuple[str, ...]
) -> None:
    header = material.headers[0]
    files = [(path.name, path.read_bytes()) for path in (header, header.with_suffix(".dat"))]
    answers = [send(client, files, {field: value}) for value in values]
    assert [complaint(answer) for answer in answers] == [None] * len(values)


def test_a_reader_that_is_killed_is_replaced_and_the_client_told(
    client: TestClient, app: FastAPI, ground: Ground
) -> None:
    readers = app.state.serving.readers
    files = [(name, ground.files[name]) for name in ("wfdb.hea", "wfdb.dat")]
    (pid,) = readers.pids
    os.kill(pid, signal.SIGSTOP)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(send(client, files)))
    asking.start()
    while len(os.listdir(readers.folder)) < 2:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    asking.join(20)
    assert complaint(answers[0], range(503, 504)) is None
    assert answers[0].json()["error"]["reason"] == "reader_lost"
    assert int(answers[0].headers["retry-after"]) > 0
    assert send(client, files).status_code == 200
    assert readers.pids != [pid]
