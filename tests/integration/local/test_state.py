"""One run on one folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealwax.local.state import AlreadyRunning, StateLock


def test_a_second_run_on_one_folder_is_refused_by_the_first_ones_process(tmp_path: Path):
    with StateLock(tmp_path), pytest.raises(AlreadyRunning, match=str(os.getpid())):
        StateLock(tmp_path)
    StateLock(tmp_path).close()
