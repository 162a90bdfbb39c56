"""The child process that serves one model; `models_app.engines.spec` defines its protocol."""

import os

# How long compute threads spin at a barrier (about 190 per token) before they sleep. The OpenMP library reads it when
# llama.cpp is loaded, so it has to be set before. By default they spin for milliseconds: on shared cores the last
# thread then gets no core, and a token takes 25 times as long. Without spinning it takes 3 times as long on an idle
# machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
