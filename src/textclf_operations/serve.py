"""Temporary."""

import runpy
import sys

from textclf.config import CONFIGS

sys.argv[0] = str(CONFIGS.parent / "deployments" / "serve.py")
runpy.run_path(sys.argv[0], run_name="__main__")
