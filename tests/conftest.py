"""For all tests."""

import os

# A process for each core, of one thread: games this small only make threads wait for one another. Set before torch is
# imported, which reads it once; processes that tests start read it too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
