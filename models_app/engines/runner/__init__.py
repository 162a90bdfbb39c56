"""The child process that holds one model; `models_app.engines.spec` says how it is spoken to."""

import os

# How long the threads that compute a step spin while they wait for each other, about 190 times per token, before they
# sleep. The OpenMP library reads it when llama.cpp is loaded, so it has to be set before. By default they spin for
# milliseconds: where the runner shares its cores, the thread that is waited for then does not get one, and a token
# takes 25 times as long. Without any spinning it takes 3 times as long on an idle machine.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
