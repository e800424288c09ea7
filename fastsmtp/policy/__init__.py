"""What may come in and for whom: pure decisions, given the facts."""
