"""The child process that holds one model; `models_app.engines.spec` says how it is spoken to."""

import os

# Read by the OpenMP library when llama.cpp is loaded, so it has to be set before. By default, threads that wait for
# each other spin; where the runner shares its cores with anything at all, the one that is waited for then does not get
# a core: a token took 25 times as long (measured on 2 busy cores).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
