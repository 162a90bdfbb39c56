"""A pytest plugin that is loaded before Django reads its settings: tests never touch a server's data."""

from __future__ import annotations

import atexit
import os
import tempfile

_folder = tempfile.TemporaryDirectory(prefix="noa-test-")
atexit.register(_folder.cleanup)
os.environ["NOA_DATA_DIR"] = _folder.name
# What a developer has set for a server of their own means nothing here.
_OTHERS = ("NOA_", "OPENAI_", "ANTHROPIC_")
for name in [name for name in os.environ if name.startswith(_OTHERS) and name != "NOA_DATA_DIR"]:
    del os.environ[name]
