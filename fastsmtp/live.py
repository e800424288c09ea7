"""Every metric that is not counted in cells: memory, disks, the queue's depth.
`fastsmtp.scrape` reads them when it is asked; the others are in `fastsmtp.metrics`.
"""

from __future__ import annotations

from typing import Final

from fastsmtp.pages import ROLES, STATES
from fastsmtp.series import Live, by

STATES_OF_QUEUE: Final = ("incoming", "active", "deferred", "hold", "scheduled")
AGES: Final = ("1m", "5m", "15m", "30m", "1h", "4h", "1d", "5d", "+Inf")
"""At most so old, and older than the age before."""
ADMISSION: Final = ("open", "deferring", "draining")

LIVE: Final = {
    live.name: live
    for live in (
        Live("process_resident_memory_bytes", "gauge", "RSS.", by(role=ROLES)),
        Live(
            "fastsmtp_process_anonymous_memory_bytes",
            "gauge",
            "RSS without mapped files.",
            by(role=ROLES),
        ),
        Live("process_open_fds", "gauge", "Open descriptors.", by(role=ROLES)),
        Live("process_max_fds", "gauge", "Descriptors allowed.", by(role=ROLES)),
        Live("fastsmtp_workers", "gauge", "Processes running.", by(role=ROLES)),
        Live(
            "fastsmtp_worker_state",
            "gauge",
            "Processes in this state.",
            by(state=STATES),
        ),
        Live(
            "fastsmtp_process_cpu_seconds_total",
            "counter",
            "User and system CPU time of each process; one that is replaced begins "
            "anew.",
            (),
        ),
        Live(
            "fastsmtp_process_resident_memory_bytes",
            "gauge",
            "RSS of each process.",
            (),
        ),
        Live(
            "fastsmtp_process_connections",
            "gauge",
            "Connections of clients open now at each process.",
            (),
        ),
        Live(
            "fastsmtp_process_messages_total",
            "counter",
            "Messages that each process accepted; one that is replaced begins anew.",
            (),
        ),
        Live(
            "fastsmtp_admission_state",
            "gauge",
            "Processes for incoming mail by what they do with it. open: take it. "
            "deferring: answer 452, and /readyz says why. draining: send it away.",
            by(level=ADMISSION),
        ),
        Live("fastsmtp_start_time_seconds", "gauge", "When the server started."),
        Live(
            "fastsmtp_config_last_reload_successful",
            "gauge",
            "1 if the configuration in use is the one that was read last.",
        ),
        Live(
            "fastsmtp_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When the configuration in use was read.",
        ),
        Live(
            "fastsmtp_queue_messages",
            "gauge",
            "Messages in the queue.",
            by(state=STATES_OF_QUEUE),
        ),
        Live(
            "fastsmtp_queue_bytes",
            "gauge",
            "Octets in the queue.",
            by(state=STATES_OF_QUEUE),
        ),
        Live(
            "fastsmtp_queue_messages_by_age",
            "gauge",
            "Messages in the queue that arrived at most this long ago, each counted "
            "once.",
            by(state=STATES_OF_QUEUE[1:], age=AGES),
        ),
        Live(
            "fastsmtp_queue_oldest_message_timestamp_seconds",
            "gauge",
            "Arrival of the oldest message in the queue; 0 when there is none.",
            by(state=STATES_OF_QUEUE[1:]),
        ),
        Live(
            "fastsmtp_queue_destination_messages",
            "gauge",
            "Messages that wait, at the 20 fullest destinations and all others.",
            (),
        ),
        Live(
            "fastsmtp_tls_certificate_not_after_timestamp_seconds",
            "gauge",
            "When a certificate ends, by its first name.",
            (),
        ),
        Live(
            "fastsmtp_disk_free_bytes",
            "gauge",
            "Free for the server's user.",
            by(path_role=("data", "run")),
        ),
        Live(
            "fastsmtp_disk_free_inodes",
            "gauge",
            "Free for the server's user.",
            by(path_role=("data", "run")),
        ),
    )
}
