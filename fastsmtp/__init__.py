"""fastsmtp: a mail server built for throughput.

The path of a message, each stage a folder of this package:

    socket → net.connection → wire.framing → smtp.session → serve.smtpd → queue.intake → store
                                                                         ↓
         mailbox ← delivery.local ← delivery.worker ← queue.schedule ← store
"""

__version__ = "0.1.0"
