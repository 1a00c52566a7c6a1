"""What `ecgjepa compare` says of runs whose curves are known: arms, means, costs, and where one reaches another."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from ecgjepa.cli import main
from ecgjepa.evaluate.compare import Reach, check_comparable, find_reach, group_runs, read_run
from ecgjepa.evaluate.compare_page import arm_table, describe_reach, format_cost
from ecgjepa.evaluate.cost_curves import cost_curves, published_points
from ecgjepa.evaluate.run_files import ReportError
from tests.evaluate.run_folders import Page, write_probe, write_run

STEPS = (0, 100, 200, 300, 400)


def write_pretraining(
    path: Path,
    scores: list[float],
    *,
    objective: str = "jepa",
    seed: int = 0,
    seconds_per_step: float = 36.0,
    steps: tuple[int, ...] = STEPS,
    status: str = "finished",
    device: str = "cpu",
    probe: dict[str, Any] | None = None,
    mask_type: str = "random",
) -> Path:
    """A run of 400 steps of 32 records that was evaluated at `steps`."""
    config = {
        "training": {"objective": objective, "seed": seed, "batch_size": 32},
        "mask": {"type": mask_type},
        "run": {"probe_store": "stores/ptbxl", "device": device},
    }
    probe = {"dataset": "ptbxl", "level": "superdiagnostic", "checksum": "ab"} | (probe or {})
    write_run(
        path, config=config, seed=seed, status=status, device=device, steps=400, parameters=1000 + seed, probe=probe
    )
    table = pd.DataFrame({"step": steps, "epoch": np.array(steps) / 10, "seconds": np.array(steps) * seconds_per_step})
    table = table.assign(core_seconds=2 * table["seconds"], rankme_pooled=9.0, probe_auc=scores)
    table.to_csv(path / "evaluations.csv", index=False)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """Two seeds of JEPA, which is quick to learn, and one masked autoencoder."""
    return [
        write_pretraining(tmp_path / "b", [0.5, 0.7, 0.8, 0.82, 0.84], seed=1),
        write_pretraining(tmp_path / "mae", [0.5, 0.6, 0.65, 0.7, 0.75], objective="mae", seconds_per_step=18),
        write_pretraining(tmp_path / "a", [0.5, 0.66, 0.74, 0.76, 0.80]),
    ]


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, args)])


def test_runs_that_differ_in_their_seed_are_one_arm(runs: list[Path]) -> None:
    jepa, mae = group_runs([read_run(run) for run in runs])
    assert (jepa.label, mae.label) == ("JEPA", "masked autoencoder")
    assert [run.path.name for run in jepa.runs] == ["a", "b"]
    mean = jepa.mean()
    np.testing.assert_array_equal(mean["step"], STEPS)
    np.testing.assert_allclose(mean["probe_auc"], [0.5, 0.68, 0.77, 0.79, 0.82])
    np.testing.assert_allclose(mean["low"], [0.5, 0.66, 0.74, 0.76, 0.80])
    np.testing.assert_allclose(mean["high"], [0.5, 0.7, 0.8, 0.82, 0.84])
    np.testing.assert_allclose(mean["hours"], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(mean["core_hours"], [0, 2, 4, 6, 8])
    np.testing.assert_allclose(mean["records"], np.array(STEPS) * 32)


def test_the_mean_is_over_steps_that_all_seeds_evaluated(tmp_path: Path) -> None:
    one = write_pretraining(tmp_path / "a", [0.5, 0.6, 0.7], steps=(0, 100, 200))
    other = write_pretraining(tmp_path / "b", [0.7, 0.8], steps=(50, 200), seed=1)
    [arm] = group_runs([read_run(one), read_run(other)])
    np.testing.assert_array_equal(arm.mean()["step"], [200])
    assert arm.mean()["probe_auc"].item() == pytest.approx(0.75)


def test_an_arm_is_called_by_what_tells_it_from_others_of_its_objective(runs: list[Path], tmp_path: Path) -> None:
    block = write_pretraining(tmp_path / "block", [0.5] * 5, mask_type="block")
    arms = group_runs([read_run(run) for run in [*runs, block]])
    assert [arm.label for arm in arms] == ["JEPA, mask.type random", "masked autoencoder", "JEPA, mask.type block"]


def test_a_setting_that_an_older_run_does_not_know_has_its_default(runs: list[Path], tmp_path: Path) -> None:
    old = write_pretraining(tmp_path / "old", [0.5] * 5, seed=7)
    text = (old / "run.json").read_text()
    (old / "run.json").write_text(text.replace('"objective": "jepa",', ""))
    assert [len(arm.runs) for arm in group_runs([read_run(run) for run in [*runs, old]])] == [3, 1]


def test_where_an_arm_reaches_the_best_of_another(runs: list[Path]) -> None:
    jepa, mae = group_runs([read_run(run) for run in runs])
    reach = find_reach(jepa, mae, "hours")
    assert (reach.score, reach.goal_step, reach.goal_cost) == (0.75, 400, 2.0)
    assert (reach.step, reach.cost, reach.seed_steps) == (200, 2.0, [300, 200])
    assert describe_reach(reach, "hours") == (
        "JEPA reaches 0.7500, the best of masked autoencoder (at step 400, 2 hours), at step 200 = 50 % of its 400 "
        "steps, after 2 hours, 1.00 of what masked autoencoder took; 2 of its 2 seeds do, between steps 200 and 300."
    )
    assert "at step 200 = 50 % of its 400 steps, 0.50 of what" in describe_reach(
        find_reach(jepa, mae, "steps"), "steps"
    )
    back = find_reach(mae, jepa, "core-hours")
    assert (back.step, back.seed_steps) == (None, [None])
    assert describe_reach(back, "core-hours") == (
        "masked autoencoder does not reach 0.8200, the best of JEPA (at step 400, 8 core hours)."
    )


@pytest.mark.parametrize(("cost", "x"), [("hours", 4.0), ("core-hours", 8.0), ("steps", 400), ("records", 12_800)])
def test_the_figure_shows_mean_band_and_seeds(runs: list[Path], cost: Any, x: float) -> None:
    arms = group_runs([read_run(run) for run in runs])
    [ax] = cost_curves(arms, cost, goal=("masked autoencoder", 0.75)).axes
    lines = {line.get_gid(): line for line in ax.lines}
    assert {"mean-0", "seed-0-0", "seed-0-1", "mean-1", "goal"} == set(lines)
    np.testing.assert_allclose(lines["mean-0"].get_ydata(), [0.5, 0.68, 0.77, 0.79, 0.82])
    assert lines["mean-0"].get_xdata()[-1] == pytest.approx(x)
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (0.5, 0.84)


def test_published_points_are_those_of_the_paper() -> None:
    assert {(point.model, point.hours, point.auc) for point in published_points()} == {
        ("ECG-JEPA (multi-block)", 22.0, 0.903),
        ("ST-MEM", 84.0, 0.880),
        ("MTAE", 21.0, 0.807),
        ("MLAE", 19.0, 0.779),
    }


def test_the_command_writes_numbers_figure_and_page(runs: list[Path], tmp_path: Path) -> None:
    write_probe(runs[1])
    write_probe(runs[2])
    out = tmp_path / "out"
    args = (*runs, "--out", out, "--reach", "masked autoencoder", "--published", "--label", f"{runs[0]}=ours")
    found = call(*args)
    assert found.exit_code == 0, found.output
    name = "ptbxl superdiagnostic, multilabel, teacher"
    [ours, mae] = [line for line in found.output.splitlines() if line.startswith(("| ours", "| masked"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (ours, mae)]
    assert cells[0][:4] == ["ours", "2", "1,000 to 1,001", "400"]
    assert cells[0][4:] == ["4", "0.820 (0.800 to 0.840)", "0.820 (0.800 to 0.840)", "0.777, 1 of 2 seeds"]
    assert cells[1][4:] == ["2", "0.750", "0.750", "0.777 [0.747, 0.807]"]
    assert f"strict: {name}" in found.output
    assert "ours reaches 0.7500, the best of masked autoencoder" in found.output

    table = pd.read_csv(out / "compare.csv").set_index("run")
    row = table.loc[str(runs[2])]
    assert (row["arm"], row["seed"], row["step"], row["hours"]) == ("ours", 0, 400, 4.0)
    assert (row["probe_auc_best"], row[f"strict {name}: AUC"]) == (0.8, 0.777)
    assert row[f"strict {name}: above, low"] == 0.031
    points = pd.read_csv(out / "compare_points.csv")
    assert len(points) == 15
    assert set(points["arm"]) == {"ours", "masked autoencoder"}
    assert (out / "compare.svg").read_text().startswith("<?xml")

    page = Page(out / "compare.html")
    assert not page.open
    for fact in ("ours reaches 0.7500", "arXiv:2410.08559", "other data, other hardware", "0.820 (0.800 to 0.840)"):
        assert fact in page.text, fact
    assert not {"script", "img", "iframe"} & {tag for tag, _ in page.elements}
    assert not re.search(r"@import|url\((?!#)", page.html)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]+"|http-equiv', "", page.html)

    again = call(*args)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert call(*args, "--overwrite").exit_code == 0


def drop_column(path: Path, name: str) -> None:
    file = path / "evaluations.csv"
    pd.read_csv(file).drop(columns=name).to_csv(file, index=False)


@pytest.mark.parametrize(
    ("breaks", "args", "said"),
    [
        (lambda run: (run / "run.json").unlink(), [], "is not a run folder"),
        (lambda run: (run / "evaluations.csv").unlink(), [], "has no evaluations.csv: pretrain with"),
        (lambda run: drop_column(run, "probe_auc"), [], "holds no probe_auc"),
        (lambda run: drop_column(run, "core_seconds"), ["--cost", "core-hours"], "does not say how many core hours"),
        (lambda run: (run / "evaluations.csv").write_text("step,probe_auc\n1,0.5\n1,0.6\n"), [], "stands there twice"),
        (lambda run: (run / "evaluations.csv").write_text("step,probe_auc\n1,high\n"), [], "'high'"),
        (lambda run: None, ["--reach", "MAE"], "no such arm, found 'JEPA', 'masked autoencoder'"),
        (lambda run: None, ["--published", "--cost", "steps"], "only hours are published"),
        (lambda run: None, ["--label", "mae"], "expected a run and what to call its arm"),
        (lambda run: None, ["--label", "other=JEPA"], "label of 'other': no such run here"),
        (lambda run: None, ["--label", "mae=JEPA"], "differ in more than the seed, but both are 'JEPA'"),
        (lambda run: None, ["--label", "a=x", "--label", "b=y"], "two labels for runs that differ in their seed only"),
    ],
)
def test_what_cannot_be_compared_is_named(
    runs: list[Path], tmp_path: Path, breaks: Any, args: list[str], said: str
) -> None:
    breaks(runs[1])
    found = call(*runs, "--out", tmp_path / "out", *args)
    assert found.exit_code != 0
    assert said in " ".join(found.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("probe", "said"), [({"level": "rhythm"}, "the level of"), ({"checksum": "cd"}, "the checksum of")]
)
def test_scores_of_other_labels_or_records_are_refused(
    runs: list[Path], tmp_path: Path, probe: dict[str, str], said: str
) -> None:
    other = write_pretraining(tmp_path / "other", [0.5] * 5, objective="sigreg", probe=probe)
    with pytest.raises(ReportError, match=said):
        check_comparable(group_runs([read_run(run) for run in [*runs, other]]), "steps")


def test_a_seed_twice_is_refused(runs: list[Path], tmp_path: Path) -> None:
    copy = write_pretraining(tmp_path / "copy", [0.5] * 5)
    with pytest.raises(ReportError, match="are of one recipe and one seed"):
        group_runs([read_run(run) for run in [*runs, copy]])


def test_a_reader_is_told_of_other_machines_and_of_runs_that_go_on(runs: list[Path], tmp_path: Path) -> None:
    other = write_pretraining(tmp_path / "c", [0.5] * 5, seed=5, device="cuda:0 (GPU)", status="running")
    arms = group_runs([read_run(run) for run in [*runs, other]])
    machines, running = check_comparable(arms, "hours")
    assert "different machines" in machines
    assert "cuda:0 (GPU)" in machines
    assert running == f"Not finished: {other}."
    assert len(check_comparable(arms, "steps")) == 1
    assert check_comparable(group_runs([read_run(run) for run in runs]), "hours") == []


def test_the_table_counts_in_the_unit_of_the_cost(runs: list[Path]) -> None:
    arms = group_runs([read_run(run) for run in runs])
    header, rows = arm_table(arms, "steps")
    assert header[:4] == ["arm", "seeds", "parameters", "steps of pretraining"]
    assert [row[3] for row in rows] == ["400", "400"]
    assert arm_table(arms, "records")[1][0][4] == "12,800"
    assert [format_cost(value) for value in (0.12345, 12.345, 1234.5)] == ["0.123", "12.3", "1,234"]


def test_who_starts_above_the_goal_is_not_said_to_have_learned_it() -> None:
    reach = Reach("ours", "published", 0.61, 154, 0.006, 0, 0.0, 1536, [0, 0, 0])
    said = describe_reach(reach, "core-hours")
    assert "ours is at or above 0.6100" in said
    assert "says nothing of its pretraining; 3 of its 3 seeds do, all at step 0." in said
