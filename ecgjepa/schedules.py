"""Numbers that follow from a step: learning rate and teacher momentum (arXiv:2410.08559, section 4.1)."""

import math


def learning_rate(
    step: int, *, steps: int, warmup_steps: int, peak: float, warmup_from: float, minimum: float
) -> float:
    """Linear from `warmup_from` to `peak`, then a cosine to `minimum` whose phase counts from step 0.

    Because the phase does not start again after the warm-up, the rate falls a little at the step where the cosine takes
    over, as in the released code. At and after `steps` it is `minimum`.

    Args:
        step: optimizer steps made so far, from 0.
        steps: optimizer steps of the whole run.
        warmup_steps: steps of the linear part.
    """
    if step < warmup_steps:
        return warmup_from + (peak - warmup_from) * step / warmup_steps
    if step >= steps:
        return minimum
    return minimum + 0.5 * (peak - minimum) * (1 + math.cos(math.pi * step / steps))


def teacher_momentum(step: int, *, steps: int, start: float = 0.996, end: float = 1.0) -> float:
    """Share of itself that the teacher keeps after optimizer step `step` (from 0): linear from `start` to `end`."""
    return start + (end - start) * min(step, steps) / max(steps, 1)
