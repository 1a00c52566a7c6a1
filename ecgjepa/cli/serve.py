"""Encoder, classifier and archive -> a page and an API."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import BATCH_SIZE, ENCODER, HEADS, PRECISION
from ecgjepa.cli.main import command_line, main

if TYPE_CHECKING:
    from ecgjepa.serve.limits import Limits
    from ecgjepa.serve.served import Served

TOKEN_VARIABLE = "ECGJEPA_TOKEN"
# Shorter ones are guessed.
LEAST_TOKEN = 16
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")


@main.command()
@click.option("--ckpt", help="The encoder that embeds: what `ecgjepa probe` takes; that of --model if not given.")
@click.option("--model", help="The classifier: what `ecgjepa predict` takes, or a head of --ckpt.")
@click.option("--which", type=click.Choice(["best", "last"]), help="Of --model; best, else last, if not given.")
@click.option(
    "--index",
    type=click.Path(path_type=Path, exists=True),
    help="The archive: a folder of `ecgjepa index`, or a table of embeddings, which is indexed for this time alone.",
)
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where ECGs of the archive are found by name, to draw them; several times if there are several.",
)
@click.option(
    "--demo", is_flag=True, help="Model and archive of `ecgjepa demo`, which is run first if it has not been."
)
@click.option(
    "--demo-dir", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Where --demo lies."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address; any other than loopback needs a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"Holds the token that requests must bear; else the environment's {TOKEN_VARIABLE}, else none is needed.",
)
@click.option("--no-token", is_flag=True, help="Let everybody who reaches the address use it.")
@click.option("--allow-host", "hosts", multiple=True, help="A further name that the server answers by.")
@click.option("--max-upload-mb", type=click.IntRange(1), default=64, show_default=True, help="Of one request.")
@click.option("--readers", type=click.IntRange(1), default=2, show_default=True, help="Processes that read uploads.")
@BATCH_SIZE
@click.option(
    "--max-wait-ms",
    type=click.FloatRange(0, 1000),
    default=5.0,
    show_default=True,
    help="How long a batch waits for the windows of further requests.",
)
@click.option("--threads", type=click.IntRange(1), help="Of the matrix products on a CPU.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@PRECISION
@click.option("--log-requests", is_flag=True, help="A line for each on standard error, without its query.")
@ENCODER
@HEADS
def serve(
    ckpt: str | None,
    model: str | None,
    which: Any,
    index: Path | None,
    stores: tuple[Path, ...],
    demo: bool,
    demo_dir: Path,
    host: str,
    port: int,
    token_file: Path | None,
    no_token: bool,
    hosts: tuple[str, ...],
    max_upload_mb: int,
    readers: int,
    batch_size: int,
    max_wait_ms: float,
    threads: int | None,
    device: str,
    precision: Any,
    log_requests: bool,
    encoder: Any,
    heads: int,
) -> None:
    """A page and an API: look at ECGs through the representation. For research, not for diagnosis.

    Drop a file of any format on the page at http://127.0.0.1:8000: its twelve leads, what the classifier says of it and
    why, the most similar ECGs of the archive, and where it lies on the map. Nothing that is sent is kept.
    """
    token = read_token(token_file, host, no_token)
    check_installed()
    if demo:
        if ckpt or model or index or stores:
            raise click.UsageError(
                "--demo brings its own model and archive; give it without --ckpt, --model, --index, --store"
            )
        ckpt, model, index, stores = prepare_demo(demo_dir)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    from ecgjepa.serve.limits import MEBIBYTE, Limits
    from ecgjepa.serve.served import Served
    from ecgjepa.serve.server import cleaning_up

    limits = Limits(max_upload_bytes=max_upload_mb * MEBIBYTE, readers=readers)
    with cleaning_up():
        served = Served.load(
            ckpt,
            model,
            index,
            stores,
            part=which,
            which=encoder,
            heads=heads,
            device=device,
            precision=precision,
            batch_size=batch_size,
            tell=click.echo,
        )
        try:
            run_app(
                served, limits, host, port, token=token, hosts=hosts, max_wait_ms=max_wait_ms, log_requests=log_requests
            )
        finally:
            served.close()


def prepare_demo(folder: Path) -> tuple[str, str, Path, tuple[Path, ...]]:
    """What there is to look at of a demo: encoder, classifier, index, stores; all is made that is not there.

    Raises:
        FileExistsError: the folder holds a demo that has not ended, or anything else.
    """
    from ecgjepa.demo import find_demo, index_demo, run_demo

    if (parts := find_demo(folder)) is None:
        if folder.exists() and any(folder.iterdir()):
            raise FileExistsError(
                f"{folder} holds no demo that has run to its end: `ecgjepa demo --out {folder} --overwrite` makes one "
                "in place of a demo that was stopped; or choose another --demo-dir"
            )
        click.echo(f"no demo in {folder} yet, making one takes some minutes")
        run_demo(folder, seed=0, overwrite=False, command=command_line())
        parts = find_demo(folder)
        assert parts is not None, "a demo that ran to its end"
    index_demo(parts)
    return str(parts.run), str(parts.head), parts.index, (parts.store,)


def run_app(
    served: "Served",
    limits: "Limits",
    host: str,
    port: int,
    *,
    token: str | None,
    hosts: Sequence[str],
    max_wait_ms: float,
    log_requests: bool = False,
) -> None:
    """Serve what was loaded until Ctrl-C.

    Args:
        hosts: names that the server answers by, beside those of loopback and `host`.
    """
    from ecgjepa.serve.app import create_app
    from ecgjepa.serve.gate import LOOPBACK_HOSTS
    from ecgjepa.serve.server import run_server

    own = () if host in ("0.0.0.0", "::") else (host,)
    names = tuple(dict.fromkeys([*LOOPBACK_HOSTS, *own, *hosts]))
    app = create_app(served, limits, token=token, hosts=names, max_wait_ms=max_wait_ms)
    click.echo("For research, not for diagnosis.")
    run_server(app, host, port, limits, tell=click.echo, log_requests=log_requests)


def read_token(file: Path | None, host: str, no_token: bool) -> str | None:
    """The token of a file, else of the environment; None where none is needed.

    Raises:
        click.UsageError: there is none, and the address can be reached from other machines; or it is too short.
    """
    token = (
        file.read_text(encoding="utf-8", errors="replace") if file is not None else os.environ.get(TOKEN_VARIABLE, "")
    ).strip()
    where = str(file) if file is not None else TOKEN_VARIABLE
    if file is not None and not token:
        raise click.UsageError(f"{file} is empty, expected a token")
    if token and no_token:
        raise click.UsageError(f"--no-token, but {where} holds one; give either")
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise click.UsageError(f"{where}: expected a token of {LEAST_TOKEN} ASCII characters or more, without blanks")
    if not token and not no_token and host not in _LOOPBACK:
        raise click.UsageError(
            f"--host {host} can be reached from other machines, and whoever reaches it may send files and see the "
            f"archive: set {TOKEN_VARIABLE} or --token-file, or say --no-token if something else guards it"
        )
    return token or None


def check_installed() -> None:
    """Raises ValueError, naming the extra, where a package is missing."""
    from importlib.util import find_spec

    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise ValueError(f"{missing[0]} is not installed: pip install 'ecgjepa[serve]'")
