"""textclf: from labelled text to a classifier that runs every night.

The library behind the flows. It knows nothing of Prefect, does nothing on import, and is called with
explicit arguments. `docs/architecture.md` says what lies where.
"""

__version__ = "0.2.0"
