"""Stop after every step, open again, and see that the table of the queue holds."""
