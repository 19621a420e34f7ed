"""Fetching models and data sets: from hubs and their mirrors, from this machine, or from the cache.

`fetch_model` and `fetch_data` try a list of sources in order and leave the files, checked, in the home.
"""

from textclf.fetching.fetch import fetch_data, fetch_model

__all__ = ["fetch_data", "fetch_model"]
