"""Federated training: client work, server work, the runtime that connects them,
and the commands that drive it.

Importing the package checks that Python and the installed packages are ones that it runs on; it
does not import TensorFlow. It also sets malloc for the whole process, see `heap`, and puts off
what of TensorFlow and TFF no training needs, see `pfrec.postponed`.
"""

import os

from pfrec import postponed
from tff_process import heap, versions

# What is forked here becomes another program at once, so gRPC need not prepare for it, nor say on
# standard error that it cannot.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Before TensorFlow's and gRPC's threads have arenas of their own.
heap.keep_freed()
postponed.postpone()
versions.check()
