"""How does each algorithm share, train and aggregate? One file each, which registers itself.

Every module of this folder is imported here, so that a new file is known once it lies in it. None
of them imports TensorFlow before it is used: `--help` reads all their settings.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
