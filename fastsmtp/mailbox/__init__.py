"""Mailboxes: an account's partition of the store, and what may be done to it.

`values` are the stored values, `mailbox` the changes as pure functions of them,
`account` the same against a store, `drop` one mailbox at one moment, `fetched` when an
email was. Keys are in `fastsmtp.store.keys`.

An account has one sequence of changes. Each change takes the next modseq of the head
`h`, writes it into the values it touches, and leaves an entry `c <modseq>` that says
what happened; but for a new email: that its `Email.created` says, and these ascend
with the email ids, so the new ones are read from the end of `e` back. All protocols
read from these two; this is how each need is met:

IMAP (RFC 9051)
    UID, UIDNEXT     `Mailbox.uidnext` only grows; `u <mailbox> <uid>` lists a mailbox
                     in UID order, so sequence numbers are places in that scan
    UIDVALIDITY      from a counter of the directory that only grows, so a mailbox or
                     account made anew under an old name has a new one
    STATUS           counts stand in `Mailbox`, changed with each email; nothing scans
    flags, keywords  `Email.flags` is a bit mask of those with a name in `Flag`, the
                     rest are `Email.keywords`. \\Deleted belongs to one mailbox, so
                     it is `Email.deleted`, the mailboxes in which it is set
    INTERNALDATE     `Email.date`; RFC822.SIZE is `Email.size`: nothing reads a body
    COPY             a new email with the same blob, one reference more
    MOVE             the same email, another place: email id kept, new UID
    SPECIAL-USE      `Mailbox.role`; LIST's tree is `Mailbox.parent`; SUBSCRIBE and
                     OBJECTID (RFC 8474) are `Mailbox.subscribed` and the ids
CONDSTORE, QRESYNC (RFC 7162)
    MODSEQ           `Email.modseq`; HIGHESTMODSEQ is `Mailbox.modseq`
    CHANGEDSINCE n   scan `c` from n + 1 and keep the entries of that mailbox; and `e`
                     from its end back, as long as `Email.created` is above n
    VANISHED         the entries UNFILED and GONE of that scan, which carry the UID.
                     If n is below `AccountHead.oldest` (entries before it were
                     pruned), every UID the client knows that `u` no longer has
JMAP (RFC 8620, 8621)
    state            the account's highest modseq, for Email, Mailbox and Thread alike
    Email/changes    both scans; an email is created when `Email.created` > the old
                     state
    cannotCalculate  the old state is below `AccountHead.oldest`
    mailboxIds       `Email.places`, mailbox to UID
    Mailbox/changes  entries MAILBOX_*, and for counts the mailboxes of the others
    threadId         `Email.thread`: 0 until the first reader that shows threads gives
                     it (a commit checked against the email), never changed after
POP3                 a scan of `u` of INBOX (`drop`); the UIDL is UIDVALIDITY and UID

What a reader computes from a body and wants to keep (ENVELOPE, BODYSTRUCTURE, preview,
search terms) gets key prefixes of its own beside `e`; no value here changes for it.
"""
