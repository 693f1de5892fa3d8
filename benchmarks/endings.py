"""Numbers on the command lines of these programs, and how they end: as those of networks/ do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "networks"))

from programs import at_least_one, ends_in_a_line

__all__ = ["at_least_one", "ends_in_a_line"]
