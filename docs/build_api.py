"""Writes the API reference, made from docstrings by pdoc; what pdoc warns of is an error.

python docs/build_api.py build/docs
"""

import os
import pathlib
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pdoc

PACKAGES = ("pfrec", "tff_process", "export")


def main(output: pathlib.Path) -> int:
    """Writes the pages; returns the exit status."""
    # Before warnings count: what others warn of while they are imported is not ours.
    import tensorflow_federated  # noqa: F401

    pdoc.render.configure(docformat="google", show_source=False, footer_text="pfrec")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pdoc.pdoc(*PACKAGES, output_directory=output)
    told = sorted({str(warning.message) for warning in caught if "pdoc" in warning.filename})
    for text in told:
        print(f"error: {text}", file=sys.stderr)
    print(f"docs: wrote {output / 'index.html'}")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
