"""The server's end of a POP3 dialogue (RFC 1939), without IO: octets in, pieces out.

states     the states and every move between them
commands   the commands, one row each
door       whom a session asks: who logs in, what is removed
session    the engine, ext/pop3/session.pyx
replies    what it says
counts     what it counts
options    what an operator may set
"""
