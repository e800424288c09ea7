"""The queue: accepted mail that is not yet where it goes.

States of a message. Local mail that can be delivered at once never has an entry: it
goes from incoming to delivered in the transaction that applies its log record.

    receiving   in the memory of a receiver or in its spool; nobody was told 250
    incoming    durable in a message log, not yet applied; 250 was or may be told
    scheduled   entry `m`, a row `d` for each destination: waits for its first attempt
    deferred    the same, after an attempt that failed
    active      the same in the store; the keeper knows that somebody is trying
    hold        the same, in a rank that is never due, until it is released
    delivered   in every mailbox or taken over by others; there is no entry

Moves. Each is one transaction; what it also does is in the same one. The counters `c`
and `g` change with the entry, so not when it becomes active.

    from       to          who makes it, and what goes with it
    ---------  ----------  ------------------------------------------------------------
    –          receiving   session, at DATA
    receiving  –           session: refused, aborted, connection lost; process died
    receiving  incoming    flusher: the fdatasync of the log; 250 follows
    incoming   delivered   keeper, `delivery.local`: all recipients reached; with the
                           emails, one reference each, and the applied position
    incoming   scheduled   keeper, `delivery.local`: some are at other servers, or it
                           is to be released later; with the emails of the others,
                           `moves.enter`, one reference more
    incoming   deferred    the same: some mailboxes were not reached
    scheduled  active      `schedule.take`: in memory, nothing is written
    deferred   active      the same
    active     deferred    `delivery.record`, `moves.revise`: some not reached yet;
                           with the notices that are owed, `moves.enter`
    active     scheduled   `schedule.give_back`: nobody got to it, or its sender died;
               deferred    nothing is written
    active     delivered   `delivery.record`, `moves.leave`; gives up the reference.
                           With the notices that are owed
    any        hold        a command, `moves.revise`; what is under way is recorded
    hold       scheduled   a command, the same
               deferred

What a crash leaves behind, and who makes it good:

    before the fdatasync         nothing, or a torn record: the client saw no 250
    before the 250               an accepted message; the client may send it again
    incoming, not applied        the record: replayed from the applied position
    notice written, move not     a body that nothing refers to: it goes with its segment
    made
    between two moves            one of the states above, whole: entry, rows, counters
                                 and references change together
    active                       nothing: it is due as before. A next hop that had taken
                                 it gets it again: at most what was under way
    email delivered, entry       the mark `k` in the account; the next attempt finds it
    not yet revised              and is absorbed
    all reached, marks not       entry without anybody waiting, and a row for the marks:
    cleared                      it is due, clears them and leaves
    marks cleared, entry not     the same
    yet gone

`tests/crash/test_crash_queue.py` stops before and behind every step.
"""
