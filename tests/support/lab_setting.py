"""Whether the tests meet AWS as it is: SEALWAX_LAB=hard, read once, before tests set variables.

What the emulators are too kind for is then done by the laboratory's servers and by a
proxy before the emulated AWS (`lab_aws.py`), with dice of one seed, SEALWAX_LAB_SEED.
"""

from __future__ import annotations

import os

__all__ = ["CONFLICTS", "HARD", "PROXY_MODES", "SEED", "SQS_MODES", "UNPROCESSED"]

HARD = os.environ.get("SEALWAX_LAB") == "hard"
SEED = int(os.environ.get("SEALWAX_LAB_SEED") or 1)

#: What the proxy's SQS does, of `bench/sqs_modes.py`: what slows no test down by itself.
PROXY_MODES = "short,duplicates,disorder,counts,expired"
#: What the in-memory SQS does. Its tests have no ledger and count each run of a task, which
#: without one a second delivery rightly repeats.
SQS_MODES = os.environ.get("SEALWAX_SQS_MODES", "short,disorder,counts,expired" if HARD else "")

#: Share of transactions that meet another one.
CONFLICTS = 0.3
#: Share of a batch's entries that are left out.
UNPROCESSED = 0.3
