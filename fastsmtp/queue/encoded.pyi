"""What a receiver writes for every message: its queue id and its envelope."""

def queue_id(id: int) -> str:
    """The 13 base-32 characters that stand in the 250, in Received and in the logs."""

def encode_mail(
    reverse_path: str,
    recipients: list[str],
    arrived: int,
    skip: int,
    body: str,
    client: str,
    helo: str,
) -> bytes:
    """The `Envelope` of a message from the network, as `encode_envelope` writes it.

    `recipients` are addresses as they were given; `arrived` and `skip` are at least 0.
    """
