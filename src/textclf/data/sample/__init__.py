"""The quickstart's sample: three TSV files of Chinese reviews, and the phrases that the generator makes them from.

No person wrote these reviews; see `textclf.data.sample.generator` and the `LICENSE` beside them.
"""
