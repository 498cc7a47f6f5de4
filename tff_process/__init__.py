"""Federated training: client work, server work, the runtime that connects them, and the commands that drive it.

Importing the package checks that Python and the installed packages are ones that it runs on; it does not import TensorFlow.
"""

from tff_process import versions

versions.check()
