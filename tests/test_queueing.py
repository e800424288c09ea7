"""What `fastsmtp why` and the log are told of the queue."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastsmtp.delivery.attempt import Attempt
from fastsmtp.queueing import Told
from fastsmtp.report import Report
from fastsmtp.smtp.letter import Answer
from fastsmtp.trace.ring import Trace


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(550, "5.1.1", "no such user", "rcpt"), (550, "5.1.1 no such user", 7)),
        (Answer(250, "", "taken", "body"), (250, "taken", 7)),
        (Answer(0, "4.4.1", "refused", "connect"), (0, "4.4.1 refused", 7)),
    ],
)
def test_an_attempt_is_traced_with_its_enhanced_code(
    answer: Answer, said: tuple[Any, ...]
) -> None:
    traced: list[tuple[Any, ...]] = []
    trace = SimpleNamespace(on=True, attempt=lambda *what: traced.append(what))
    told = Told(cast(Report, SimpleNamespace(at_info=False)), cast(Trace, trace))
    by = Attempt(1, "x.test", {"a@x.test": answer}, hop="mx", seconds=0.0071)
    told.delivered(by)
    assert traced == [(1, "a@x.test", "mx", "", *said)]
