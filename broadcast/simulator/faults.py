"""What can be told to go wrong at the stand-in, while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True, slots=True)
class Faults:
    """All quiet by default. `times` counts down the requests that still meet the faults; 0 means until changed."""

    latency_ms: int = 0  # before every answer
    refuse: str = ""  # the provider's word or code to answer instead of taking anything, e.g. SystemBusy
    http_status: int = 0  # an HTTP status with a page of HTML instead of taking anything, e.g. 500
    retry_after: int = 0  # seconds, sent along with http_status
    close_without_answer: str = ""  # "before" or "after" taking what was sent
    accept_and_never_answer: bool = False  # takes it, reports it, leaves the request hanging
    no_reports: bool = False
    duplicate_reports: bool = False
    reports_before_answer: bool = False  # what is reported of a request is reported before the request is answered
    shuffle_reports: bool = False  # in another order than they came about
    delivers_nothing: bool = False  # says OK: nothing arrives, nothing is reported
    fail_share: float = 0.0  # of the numbers, 0 to 1, whose report says that it did not arrive
    times: int = 0

    def __post_init__(self) -> None:
        if self.close_without_answer not in ("", "before", "after"):
            raise ValueError('close_without_answer is "", "before" or "after"')
        if self.http_status and not 300 <= self.http_status <= 599:
            raise ValueError("http_status is 300 to 599")
        if not 0 <= self.fail_share <= 1:
            raise ValueError("fail_share is 0 to 1")
        if min(self.latency_ms, self.retry_after, self.times) < 0:
            raise ValueError("latency_ms, retry_after and times are 0 or more")

    def one_fewer(self) -> Faults:
        """What is left after one request met them."""
        return self if self.times == 0 else Faults() if self.times == 1 else replace(self, times=self.times - 1)


def read_faults(values: Mapping[str, object]) -> Faults:
    """Faults from JSON or from words of a command line ("latency_ms": "200"). ValueError names what is wrong."""
    kinds = {field.name: type(field.default) for field in fields(Faults)}
    if unknown := sorted(set(values) - set(kinds)):
        raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(kinds)}")
    return Faults(**{name: _as(kinds[name], name, value) for name, value in values.items()})  # type: ignore[arg-type]


def _as(kind: type, name: str, value: object) -> object:
    if kind is bool:
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in words:
            raise ValueError(f"{name} is true or false")
        return words[str(value).lower()]
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is a {kind.__name__}")  # noqa: TRY004 - one kind of error for one kind of mistake
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name} is a {kind.__name__}") from None
