"""Register the flows in a work pool, and what starts a run again whose worker died."""

from __future__ import annotations

import sys

from textclf_operations.deploy import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
