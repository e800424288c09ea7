"""The queue: accepted mail that is not yet where it goes.

States of a message. Local mail that can be delivered at once never has an entry: it
goes from incoming to delivered in the transaction that applies its log record.

    receiving   in the memory of a receiver or in its spool; nobody was told 250
    incoming    durable in a message log, not yet applied; 250 was or may be told
    deferred    entry `m`, due entry `d`: waits for its next attempt
    scheduled   the same, waiting for the first one
    active      entry `m`, lease `l` in place of `d`: somebody is trying
    hold        entry `m` alone: nothing happens until it is released
    delivered   in every mailbox; there is no entry, each email refers to the body

Moves. Each is one transaction; what it also does is in the same one. The counters `c`
change with the state a message rests in, so not when it becomes active.

    from       to          who makes it, and what goes with it
    ---------  ----------  ------------------------------------------------------------
    –          receiving   session, at DATA
    receiving  –           session: refused, aborted, connection lost; process died
    receiving  incoming    flusher: the fdatasync of the log; 250 follows
    incoming   delivered   keeper, `delivery.local`: all recipients reached; with the
                           emails, one reference each, and the applied position
    incoming   deferred    keeper, `delivery.local`: some not reached; with the emails
                           of the others, `moves.enter`, one reference more
    incoming   hold        `delivery.local`: the same, and those who are left are at
                           other servers; a user who logged in sent it
    deferred   active      `schedule`, Store.claim: `d` becomes `l`
    scheduled  active      the same
    active     deferred    `delivery.worker`, `moves.revise`: some not reached yet
    active     active      `delivery.worker`, `moves.note`: all reached, marks to clear
    active     deferred    `delivery.worker`, `moves.put_back`: its own trouble
    active     hold        `delivery.worker`, `moves.revise`: given up, bounce is owed;
                           or those who are left are at other servers
    active     delivered   `delivery.worker`, `moves.leave`; gives up the reference
    active     deferred    `schedule.recover`, Store.release: the holder is dead
               scheduled   (whichever it rested in: the lease keeps the due entry)

What a crash leaves behind, and who makes it good:

    before the fdatasync         nothing, or a torn record: the client saw no 250
    before the 250               an accepted message; the client may send it again
    incoming, not applied        the record: replayed from the applied position
    between two moves            one of the states above, whole: entry, index, lease,
                                 counters and references change together
    active                       a lease of a dead epoch: `schedule.recover` at start
    worker: email delivered,     the mark `k` in the account; the next attempt finds it
    entry not yet revised        and is absorbed
    worker: all reached,         entry without anybody waiting: the next attempt clears
    marks not cleared            the marks and leaves
    worker: marks cleared,       the same
    entry not yet gone

`tests/crash/test_crash_queue.py` stops before and behind every step.
"""
