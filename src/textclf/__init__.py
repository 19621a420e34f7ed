"""textclf: from labelled text to a classifier that runs every night.

The library behind the flows: independent of Prefect, without side effects on import, called with explicit arguments.
`docs/architecture.md` describes its structure.
"""

__version__ = "0.4.0"
