"""Looks at the representation while a run goes on: measures of collapse, the online probe, and their alarms."""

import logging
import math
from pathlib import Path
from typing import Any

import torch

from ecgjepa.config import Config
from ecgjepa.data.store import SIGNALS, Store
from ecgjepa.evaluate.collapse import find_alarms, measure_representation
from ecgjepa.evaluate.features import contract_warnings
from ecgjepa.evaluate.online_probe import OnlineProbe
from ecgjepa.evaluate.report import renew_report
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from ecgjepa.train.log import Log
from ecgjepa.train.run import Run
from ecgjepa.train.sources import Sources

_log = logging.getLogger(__name__)


class Evaluation:
    """In the first process; writes `evaluations.csv`, `alarms` in `run.json` and `report.html`.

    Attributes:
        probe: on the labelled store of the settings, None where there is none.
    """

    def __init__(self, run: Run, config: Config, sources: Sources, log: Log, probe: OnlineProbe | None) -> None:
        self.run, self.config, self.probe, self._log = run, config, probe, log
        self._signals_mv = torch.from_numpy(sources.watched_mv())

    def look(self, encoder: Encoder, probed: Encoder, step: int) -> bool:
        """Measure after `step` steps; True if the online probe has never been better.

        Args:
            encoder: whose tokens are watched.
            probed: whose features the online probe reads.

        A measurement that was made already, before the run was interrupted, is not made again.
        """
        history = self.run.evaluations()
        if any(row["step"] == step for row in history):
            return False
        with self._log.clock.paused():
            clock = self._log.clock
            row: dict[str, float] = {"step": step, "epoch": step / self._log.steps_per_epoch}
            row |= {"seconds": clock.seconds, "core_seconds": clock.core_seconds}
            row |= measure_representation(encoder, self._signals_mv)
            if self.probe is not None and all(map(math.isfinite, row.values())):
                row |= self.probe.measure(probed)
            self.run.log_evaluation(row)
            self._log.track(step, {f"evaluation/{name}": value for name, value in row.items()})
            self._warn([*history, row])
            renew_report(self.run.path)
        before = [each["probe_auc"] for each in history if "probe_auc" in each]
        return "probe_auc" in row and row["probe_auc"] > max(before, default=0.0)

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """Those raised so far."""
        return list(self.run.info.get("alarms", []))

    def _warn(self, history: list[dict[str, float]]) -> None:
        raised = {alarm["name"] for alarm in self.alarms}
        for alarm in find_alarms(history):
            if alarm.name not in raised:
                _log.warning("ALARM at step %d: %s %s", history[-1]["step"], alarm.found, alarm.explanation)
                found = {"name": alarm.name, "found": alarm.found, "explanation": alarm.explanation}
                entry = {"step": int(history[-1]["step"]), **found, "advice": alarm.advice}
                self.run.write_info(alarms=[*self.alarms, entry])


def open_probe(config: Config, contract: SignalContract) -> OnlineProbe | None:
    """The online probe of the settings, None where no store is named.

    Raises:
        ValueError: the store has not what a probe needs, or its contract is not that of the training.
    """
    if config.run.probe_store is None:
        return None
    store = Store.open(Path(config.run.probe_store))
    for warning in contract_warnings(store.contract, contract):
        _log.warning("warning: online probe: %s", warning)
    return OnlineProbe(store, level=config.run.probe_level)


def describe_probe(probe: OnlineProbe) -> dict[str, Any]:
    """What the scores are of: those of two runs can be compared only if it is the same."""
    info = probe.store.info
    return {"dataset": info["dataset"], "level": probe.level, "checksum": info["checksums"][SIGNALS]}
