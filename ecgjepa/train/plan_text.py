"""The account of a plan: what was measured, and what follows from it."""

from ecgjepa.train.measuring import Cost
from ecgjepa.train.plan import Plan


def describe(plan: Plan) -> str:
    """The plan as text; every number says where it is from."""
    done, step = plan.rehearsal, plan.step
    whole = "measured once" if done.is_whole else "scaled up from some records, without the fit of the probe"
    memory = _size(plan.memory_bytes) + (
        f" of {_size(plan.memory_there_bytes)} of the GPU" if plan.memory_there_bytes else ", peak of this process"
    )
    form = plan.attention + (", compiled" if plan.compiled else "")
    clock, unit = ("the clock", "Tflop/s") if plan.on_gpu else ("core seconds", "Tflop/s of a core")
    low, high = plan.spread_s
    rows: list[tuple[str, ...]] = [
        ("device", plan.device),
        ("steps", f"{plan.steps:,} of {plan.batch_size} records, {plan.steps_per_epoch:,} an epoch of {plan.draws:,}"),
        ("networks", f"{plan.weights / 1e6:,.1f} million weights, attention {form}"),
        (),
        ("measured", ""),
        ("a step", f"{step.seconds:.4g} s, {step.core_seconds:.4g} core seconds, "
                   f"{plan.batch_size / step.seconds:,.1f} records/s (median of {plan.steps_timed}, "
                   f"eight of ten {low:.3g} to {high:.3g} s)"),
        ("beginning", f"{plan.start.seconds:.3g} s more for the first steps"),
        ("an evaluation",
         f"{done.evaluation.seconds:.3g} s, {done.evaluation.core_seconds:.3g} core seconds; {whole}"),
        ("a checkpoint", f"{done.checkpoint.seconds:.3g} s, {_size(done.checkpoint_bytes)}"),
        ("memory", memory),
        ("products", f"one large one {plan.tflop_per_s:,.3g} {unit}; those of a step {plan.tflop_per_step:.4g} Tflop, "
                     f"{plan.utilisation:.0%} of that rate by {clock}"),
        (),
        ("extrapolated", ""),
        ("training", f"{_time(plan.training)}; checkpoints among it: {plan.checkpoints}"),
        ("evaluations", f"{_time(plan.looking)}; looks at the representation: {plan.evaluations}"),
        ("in all", _time(plan.together)),
        ("disk",
         f"{_size(plan.disk_bytes)}: checkpoints (last, previous, best, {plan.kept} kept, room for one more), "
         f"the model; {_size(plan.free_bytes)} are free"),
        ("operations", f"{plan.tflop_per_step * plan.steps:,.4g} Tflop of matrix products in all"),
    ]  # fmt: skip
    lines = [f"{row[0]:<16}{row[1]}".rstrip() if row else "" for row in rows]
    lines += ["", *(f"PROBLEM  {problem}" for problem in plan.problems)] if plan.problems else []
    return "\n".join(lines)


def _time(cost: Cost) -> str:
    unit, name = (3600, "h") if cost.seconds >= 3600 else (60, "min")
    return f"{cost.seconds / unit:,.2f} {name}, {cost.core_seconds / unit:,.2f} core {name}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"
