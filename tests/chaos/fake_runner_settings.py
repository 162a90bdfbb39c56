"""Settings of a server whose runners are tests/fakes/runner.py; `NOA_TEST_RUNNER` holds its arguments."""

from __future__ import annotations

import os
import shlex
import sys

from noa_site.settings import *  # noqa: F403
from tests.markdown import ROOT

NOA_RUNNER_COMMAND = [
    sys.executable,
    str(ROOT / "tests" / "fakes" / "runner.py"),
    *shlex.split(os.environ["NOA_TEST_RUNNER"]),
]
