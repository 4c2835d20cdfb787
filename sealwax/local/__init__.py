"""Everything for a laptop: embedded AWS, a supervisor, a sandbox.

`sealwax dev` and the test fixtures use it; no role of production imports it.
"""
