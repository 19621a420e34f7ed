"""The quickstart's sample: three TSV files of generated Chinese reviews, and the phrases they are made from."""
