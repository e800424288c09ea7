import pytest

from fastsmtp.smtp.commands import (
    HELLO_FIRST,
    MAIL_FIRST,
    NESTED,
    NO_RECIPIENT,
    ROWS,
    Row,
    misplaced,
)
from fastsmtp.smtp.states import ANY, GREETED, MAIL, MOVES, RCPT, READY, State


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.verb)
def test_a_row_only_makes_moves_of_the_table(row: Row) -> None:
    for state in row.states:
        after = state if row.next is None or row.verb == "RSET" else row.next
        assert after in MOVES[state]


def test_what_may_come_at_any_time_does() -> None:
    anywhere = {row.verb for row in ROWS if row.states == ANY}
    assert {"HELO", "EHLO", "RSET", "NOOP", "QUIT", "VRFY", "HELP"} <= anywhere


@pytest.mark.parametrize(
    ("verb", "state", "answer"),
    [
        ("MAIL", GREETED, HELLO_FIRST),
        ("RCPT", GREETED, HELLO_FIRST),
        ("DATA", GREETED, HELLO_FIRST),
        ("MAIL", MAIL, NESTED),
        ("MAIL", RCPT, NESTED),
        ("RCPT", READY, MAIL_FIRST),
        ("DATA", READY, MAIL_FIRST),
        ("DATA", MAIL, NO_RECIPIENT),
    ],
)
def test_a_misplaced_command_hears_what_is_missing(
    verb: str, state: State, answer: object
) -> None:
    row = next(row for row in ROWS if row.verb == verb)
    assert state not in row.states
    assert misplaced(row, state) is answer
