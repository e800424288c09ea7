"""Both ends of the SMTP dialogue, without IO, clock or tasks."""
