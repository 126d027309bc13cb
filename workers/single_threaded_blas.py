"""Makes numerical libraries run one thread. Import it before anything else: they read the
number of threads when they load. Each core has a process, so that more threads would only
fight over the cores."""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
