"""fastsmtp: a mail server built for throughput.

The path of a message, each stage a folder of this package:

    socket → net.connection → wire.framing → smtp.session → serve.smtpd
                                                                │
      store ← queue.intake ←────────────────────────────────────┘
        │
        └→ queue.schedule → delivery.worker → delivery.local → mailbox
"""

__version__ = "0.1.0"
