"""Bytes to values and back: no IO, clock, asyncio or logging."""
