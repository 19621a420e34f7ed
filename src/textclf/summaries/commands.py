"""The commands that a closing message names, as they can be typed in the current directory."""

from __future__ import annotations

import sys
from pathlib import Path

from textclf.config.home import CONFIGS


def script(name: str) -> str:
    """Returns a script of the repository: as it is typed there, elsewhere with its full path."""
    root = CONFIGS.parent
    return name if Path.cwd() == root else str(root / name)


def program(name: str) -> str:
    """Returns the program next to the running interpreter, which works whether or not its environment is active."""
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
