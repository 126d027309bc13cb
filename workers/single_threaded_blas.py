"""Imported before anything else by a program that runs models: numerical libraries
read how many threads to start when they load. There is a process a core, so that more
than one thread in each would only fight over the cores."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
