"""Which rows of an index may be found."""

import math
from dataclasses import dataclass


class QuestionError(ValueError):
    """Something is asked of an index that it cannot answer; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Filters:
    """A row passes if it meets every condition that is given; a row of which nothing is known meets none.

    Args:
        labels: it has any of these.
        sexes, sources: it is of one of these.
        age_min, age_max: years, both included.

    Raises:
        QuestionError: an age that is no number, or a range without an age.
    """

    labels: tuple[str, ...] = ()
    sexes: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    age_min: float | None = None
    age_max: float | None = None

    def __post_init__(self) -> None:
        for name in ("age_min", "age_max"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise QuestionError(f"{name}: found {value}, expected a number of years")
        if self.age_min is not None and self.age_max is not None and self.age_min > self.age_max:
            raise QuestionError(f"age_min {self.age_min:g} is above age_max {self.age_max:g}, so no row can pass")


NO_FILTERS = Filters()
