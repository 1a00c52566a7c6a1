"""The one table of a suite: an encoder and a read-out a row, a task a column; as text, CSV and LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tabulate import tabulate

from ecgjepa.evaluate.published import published_numbers
from ecgjepa.evaluate.result_table import METRICS, MODELS
from ecgjepa.files import atomic_path, write_text
from ecgjepa.suite.results import PRIMARY, CellResult, SuiteResults, long_table
from ecgjepa.suite.tasks import Task

CSV, LATEX = "table.csv", "table.tex"
READOUTS = {
    "linear": "linear",
    "knn": "k nearest",
    "nearest-mean": "nearest class mean",
    "attention": "attention pooling",
    "finetuned": "fine-tuned",
    "scratch": "from scratch",
}
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {character: f"\\{character}" for character in "&%$#_{}"}


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        encoder: its name.
        weights: `pretrained`, `random`, `finetuned` or `scratch`.
        readout: of the cells.
    """

    encoder: str
    weights: str
    readout: str

    @property
    def label(self) -> str:
        """For people."""
        name = READOUTS.get(self.readout, self.readout)
        return f"{self.encoder}, {name}" if self.weights != "random" else f"{self.encoder} with random weights, {name}"


@dataclass(frozen=True)
class Score:
    """A score of a line: with an interval over patients, or as mean and sd over seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    seeds: int = 1

    def text(self) -> str:
        """For people: three digits, and what is known of its spread."""
        if self.sd is not None:
            return f"{self.value:.3f} ± {self.sd:.3f} ({self.seeds} seeds)"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def lines_of(results: Sequence[CellResult]) -> list[Line]:
    """The lines that these results fill, trained models first, each with its random twin below."""
    found: dict[Line, None] = {}
    for each in results:
        for model in each.summary["models"]:
            found[Line(each.cell.encoder, each.weights_of(model), each.cell.readout)] = None
    encoders = list(dict.fromkeys(line.encoder for line in found))
    readouts = [name for name in READOUTS if any(line.readout == name for line in found)]
    order = ("pretrained", "finetuned", "scratch", "random")
    return sorted(
        found,
        key=lambda line: (encoders.index(line.encoder), readouts.index(line.readout), order.index(line.weights)),
    )


def score_of(results: Sequence[CellResult], line: Line, metric: str, average: str = "macro") -> Score | None:
    """The score of a line over the seeds of its cells; None where it has none.

    Seeds that give one and the same value (a pretrained encoder has no seed of its own) are one.
    """
    found = []
    for each in results:
        if (each.cell.encoder, each.cell.readout) != (line.encoder, line.readout):
            continue
        for model, scores in each.summary["models"].items():
            interval = scores.get(average, {}).get(metric)
            if each.weights_of(model) == line.weights and interval is not None and interval["value"] is not None:
                found.append(interval)
    if not found:
        return None
    values = [interval["value"] for interval in found]
    if len(set(values)) == 1:
        return Score(values[0], found[0]["low"], found[0]["high"])
    return Score(float(np.mean(values)), sd=float(np.std(values, ddof=1)), seeds=len(values))


def overview(suite: SuiteResults) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table over the plain cells: whole signals, all labels."""
    tasks = [task for task in suite.tasks if any(each.cell.is_plain for each in suite.of(task))]
    plain = {task: [each for each in suite.of(task) if each.cell.is_plain] for task in tasks}
    every = [each for task in tasks for each in plain[task]]
    rows = []
    for line in lines_of(every):
        scores = [score_of(plain[task], line, PRIMARY[task.kind]) for task in tasks]
        rows.append([line.label, *("–" if score is None else score.text() for score in scores)])
    rows += _published(tasks)
    return ["", *(f"{task.dataset} {task.level}, {task.kind}, {_metric(task)}" for task in tasks)], rows


def _metric(task: Task) -> str:
    return METRICS[PRIMARY[task.kind]]


def _published(tasks: Sequence[Task]) -> list[list[str]]:
    """A row for every published model and way, with what is published of each task."""
    known: dict[str, dict[int, float]] = {}
    for column, task in enumerate(tasks):
        for number in published_numbers(task.dataset, task.level, task.kind):
            known.setdefault(f"published: {number.model}, {number.how} ({number.source})", {})[column] = number.value
    return [
        [label, *(f"{values[column]:.3f}" if column in values else "–" for column in range(len(tasks)))]
        for label, values in known.items()
    ]


def format_overview(suite: SuiteResults) -> str:
    """The table for a terminal: tasks as rows, which are many, and models as columns of their own blocks."""
    header, rows = overview(suite)
    blocks = [
        tabulate(
            [[row[0], row[column]] for row in rows if row[column] != "–"], [header[column], ""], disable_numparse=True
        )
        for column in range(1, len(header))
    ]
    blocks += [f"not evaluated: {cell.folder.removeprefix('results/')}: {reason}" for cell, reason in suite.failed]
    return "\n\n".join(blocks)


def write_tables(suite: SuiteResults) -> None:
    """Write `table.csv`, every score as a row, and `table.tex`, the overview."""
    with atomic_path(suite.path / CSV) as file:
        long_table(suite).to_csv(file, index=False)
    write_text(suite.path / LATEX, to_latex(*overview(suite)))


def to_latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for `booktabs`; LaTeX's own characters are escaped."""
    lines = [r"% needs \usepackage{booktabs}", r"\begin{tabular}{l" + "l" * (len(header) - 1) + "}", r"\toprule"]
    lines += [_latex_row(header), r"\midrule"]
    published = False
    for row in rows:
        if row[0].startswith("published") and not published:
            published = True
            lines.append(r"\midrule")
        lines.append(_latex_row(row))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    cells = [" ".join(cell.split()) for cell in cells]
    escaped = ["".join(_LATEX.get(character, character) for character in cell) for cell in cells]
    return " & ".join(escaped).replace(" ± ", r" $\pm$ ").replace("–", "--").replace("²", "$^2$") + r" \\"


def describe_model(line: Line) -> str:
    """What a figure calls a line."""
    return f"{line.encoder}, {MODELS[line.weights]}" if line.weights != "pretrained" else line.encoder
