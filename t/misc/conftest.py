"""Makes the tests independent of the user's environment."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import surroundings  # noqa: E402

surroundings.settle()
