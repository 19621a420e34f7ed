"""Fetches models and data sets from hubs, mirrors, this machine or the cache.

`fetch_model` and `fetch_data` try a list of sources in order, check the files and keep them in the home.
"""

from textclf.fetching.fetch import fetch_data, fetch_model

__all__ = ["fetch_data", "fetch_model"]
