"""Train weekly and predict every night on this machine, until this program is stopped."""

from __future__ import annotations

import sys

from textclf_operations.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
