"""The cases of the primitives' laws, which these tests export: their modules import each other."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "laws"))
