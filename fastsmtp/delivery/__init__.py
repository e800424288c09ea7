"""Getting mail to where it goes.

`local` delivers inside the transaction that applies the message log, `worker` later
and one recipient at a time what could not be delivered there. `route` says whose an
address is.
"""
