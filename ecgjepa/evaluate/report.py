"""A run folder -> one page that anybody can open: no outside request, no script, figures inline."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import ecgjepa
from ecgjepa.evaluate.pages import DATASETS, page_template
from ecgjepa.evaluate.report_probe import MODELS, probe_section
from ecgjepa.evaluate.report_training import (
    coverage_picture,
    evaluations_picture,
    example_picture,
    loss_picture,
    pace,
)
from ecgjepa.evaluate.run_files import (
    ProbeSummary,
    ReportError,
    RunInfo,
    read_evaluations,
    read_json,
    read_metrics,
)
from ecgjepa.files import write_text

_log = logging.getLogger(__name__)

REPORT = "report.html"
# The page of a run that goes on loads itself again.
REFRESH_S = 30


def write_report(run_dir: Path | str, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Write what a run folder holds as one self-contained HTML page, and return its path.

    Made from the files of the folder, and for the picture of an ECG from the store that `run.json` names. What is
    not there (yet) is said to be absent. The same files give the same page but for the date in its last line. While
    the run goes on the page loads itself again every 30 seconds. Without probes, writing takes about a core second.

    Args:
        run_dir: a run folder, finished or not, with or without probes.
        out: the file to write; `report.html` in the run folder if None, which is replaced if it is there.
        overwrite: replace another file than that one.

    Raises:
        FileExistsError: `out` is there and `overwrite` is False.
        ReportError: `run_dir` is not a run folder, or one of its files is broken; the message names it.
    """
    run_dir = Path(run_dir)
    target = run_dir / REPORT if out is None else Path(out)
    if target.exists() and not overwrite and target.resolve() != (run_dir / REPORT).resolve():
        raise FileExistsError(f"{target} exists already; --overwrite replaces it")
    run = read_json(run_dir / "run.json", RunInfo)
    if run is None:
        raise ReportError(f"{run_dir} is not a run folder: no run.json in it")
    folders = sorted(path for path in run_dir.glob("probes/*") if path.is_dir() and path.name[0] != ".")
    results = {folder: read_json(folder / "result.json", ProbeSummary) for folder in folders}
    finished = {folder: result for folder, result in results.items() if result is not None}
    metrics, evaluations = read_metrics(run_dir / "metrics.csv"), read_evaluations(run_dir / "evaluations.csv")
    config = run_dir / "config.toml"
    # First the linear read-outs of whole signals with all labels, strict ones before those of the paper.
    strict_first = sorted(
        ((folder, result) for folder, result in finished.items() if result.classes),
        key=lambda each: (not each[1].is_plain, each[1].protocol != "strict"),
    )
    probes = [probe_section(*each, number, len(strict_first)) for number, each in enumerate(strict_first)]
    html = page_template(REPORT).render(
        name=run_dir.resolve().name,
        run=run,
        refresh_s=REFRESH_S if run.status == "running" else None,
        headline=probes[0].result if probes else None,
        last=None if metrics is None else metrics.iloc[-1].to_dict(),
        pace=pace(run, metrics),
        loss=loss_picture(metrics, run),
        evaluations=evaluations_picture(evaluations, run),
        coverage=coverage_picture(run),
        example=example_picture(run),
        probes=probes,
        numbers=[result for result in finished.values() if not result.classes],
        unfinished=[folder.name for folder, result in results.items() if result is None],
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        models=MODELS,
        datasets=DATASETS,
        version=ecgjepa.__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, html)
    return target


def renew_report(run_dir: Path | str) -> None:
    """`write_report` for a run that goes on: a page that cannot be written is warned of and ends nothing."""
    try:
        write_report(run_dir)
    except (ReportError, OSError) as error:
        _log.warning("warning: %s is not renewed: %s", Path(run_dir) / REPORT, error)
