"""Numbers of the format of network files (docs/network-format.md)."""

from __future__ import annotations

FORMAT = "eventsim-network"
VERSION = 1
USER_BLOCK = 512
# In bytes of UTF-8.
MAX_TEXT = 256
MAX_LABEL = 1024
MAX_PROVENANCE = 2**16
MAX_LABELS = 2**20
SEE = "see docs/network-format.md, or save the network again with eventsim"
