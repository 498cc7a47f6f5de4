# Everything a developer runs, with nothing but Python 3.9-3.11 and make on the machine. `make help`
# lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help

UV_VERSION := 0.13.9
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Says the first Python that fits, or what to install. Each candidate is run, since a name on PATH
# proves nothing (pyenv's shims exist for versions that are not active, Debian's Python may come
# without ensurepip). pyenv's and uv's own copies are looked at last.
define FIND_PYTHON
fits() { \
  "$$1" -c 'import sys, ensurepip, venv; sys.exit(not (3, 9) <= sys.version_info[:2] <= (3, 11))' \
    </dev/null >/dev/null 2>&1; \
}; \
python=; \
if [ -n "$(PYTHON)" ] && ! fits "$(PYTHON)"; then \
  echo "note: PYTHON=$(PYTHON) is no Python 3.9-3.11 with venv and ensurepip;" \
    "looking for another" >&2; \
fi; \
for candidate in "$(PYTHON)" python3.11 python3.10 python3.9 python3 python \
    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.11.*/bin/python3 \
    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.10.*/bin/python3 \
    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.9.*/bin/python3 \
    "$${XDG_DATA_HOME:-$$HOME/.local/share}"/uv/python/cpython-3.11.*/bin/python3; do \
  if [ -n "$$candidate" ] && fits "$$candidate"; then python=$$candidate; break; fi; \
done; \
if [ -z "$$python" ]; then \
  { echo "error: no Python 3.9, 3.10 or 3.11 with venv and ensurepip was found" \
      "(TensorFlow Federated 0.87 runs on no other). Install one:"; \
    echo "  Debian, Ubuntu   apt-get install python3.11 python3.11-venv" \
      "  (or 3.10, 3.9: what the release has)"; \
    echo "  macOS            brew install python@3.11"; \
    echo "  pyenv            pyenv install 3.11"; \
    echo "  uv               uv python install 3.11"; \
    echo "then run make again, or name it: make setup PYTHON=/path/to/python3.11"; } >&2; \
  exit 1; \
fi
endef

# Installs the locked packages, and says every ten seconds how far it is: pip itself would be silent
# for minutes, or say everything.
define INSTALL_LOCKED
  total=$$(grep -c '^[a-z0-9A-Z].*==' requirements.txt); log=.venv/pip.log; \
  $(PIP) install --progress-bar off --no-deps --require-hashes -r requirements.txt \
    >"$$log" 2>&1 & \
  pip=$$!; trap 'kill $$pip 2>/dev/null; exit 130' INT TERM; seconds=0; \
  while kill -0 $$pip 2>/dev/null; do \
    sleep 1; seconds=$$((seconds + 1)); \
    if [ $$((seconds % 10)) -eq 0 ]; then \
      if grep -q '^Installing collected' "$$log"; then doing="unpacking $$total packages"; \
      else doing="fetched $$(grep -c '^Collecting' "$$log") of $$total packages"; fi; \
      echo "setup: $$doing, $$seconds s"; \
    fi; \
  done; \
  wait $$pip || { tail -n 5 "$$log" >&2; \
    echo "setup: FAILED to install the packages (all that pip said: $$log);" \
      "mend it and run make again" >&2; exit 1; }
endef

# What pip fetches and makes lies where it is installed until then: wheels of hundreds of MB do not
# fit every /tmp.
OWN_TMPDIR = mkdir -p .venv/tmp; TMPDIR="$(CURDIR)/.venv/tmp"; export TMPDIR

.PHONY: help setup demo test test-quick check audit docs lock clean

help:
	@echo "make setup   make .venv with every package at its locked version" \
	  "(3 GB, one to three minutes; done once)"
	@echo "make demo    on synthetic data: compare algorithms, export the best federated one on valid," \
	  "verify the exports; writes demo/"
	@echo "make test    run all tests"
	@echo "make test-quick  all but those that train, export or run whole commands"
	@echo "make check   ruff, mypy and import-linter"
	@echo "make audit   known advisories of the locked packages, by pip-audit (it asks PyPI)"
	@echo "make docs    the API reference, made from docstrings, into build/docs"
	@echo "make lock    remake requirements.txt from requirements.in and overrides.txt" \
	  "(LOCK_FLAGS=--upgrade takes newer versions)"
	@echo "make clean   remove .venv, demo/ and caches"
	@echo
	@echo "Every target sets up .venv first where it needs it. PYTHON=... names the interpreter" \
	  "(3.9, 3.10 or 3.11) to make it with."

# The environment is done when the file written last says so: it holds what the environment was made
# from and where, so that a changed lock, a moved checkout, a lost interpreter or an interrupted
# set-up makes it anew. A changed pyproject.toml only installs pfrec again.
setup:
	@set -eu; \
	locked="$$(cksum <requirements.txt) $(CURDIR)"; \
	package="$$(cksum <pyproject.toml) $(CURDIR)"; \
	if [ "$$(cat .venv/made-from.lock 2>/dev/null)" != "$$locked" ] \
	    || ! $(BIN)/python -c '' 2>/dev/null; then \
	  $(FIND_PYTHON); \
	  echo "setup: making .venv with $$("$$python" --version) ($$python):" \
	    "3 GB, one to three minutes"; \
	  rm -rf .venv; \
	  "$$python" -m venv .venv; \
	  $(OWN_TMPDIR); \
	  $(BIN)/python -c 'import pip, sys; found = pip.__version__.split(".")[:2]; \
	    sys.exit([int(part) for part in found] < [21, 3])' \
	    || $(PIP) install -qq --upgrade pip; \
	  $(INSTALL_LOCKED); \
	  echo "$$locked" >.venv/made-from.lock; \
	fi; \
	if [ "$$(cat .venv/made-from.package 2>/dev/null)" != "$$package" ]; then \
	  $(OWN_TMPDIR); \
	  $(PIP) install -qq --no-deps --no-build-isolation -e .; \
	  rm -r .venv/tmp; \
	  echo "$$package" >.venv/made-from.package; \
	  echo "setup: .venv is ready"; \
	fi

demo:
	@echo "demo: sets up .venv where it is not there yet (3 GB, one to three minutes), then trains four"
	@echo "demo: algorithms on built-in data, exports the best and verifies it (some minutes)"
	@$(MAKE) --no-print-directory setup
	@set -eu; \
	step="starting"; \
	trap 'status=$$?; [ $$status -eq 0 ] \
	  || { echo; echo "demo: FAILED while $$step (exit status $$status)"; } >&2' EXIT; \
	trap 'exit 130' INT; trap 'exit 143' TERM; \
	run() { echo "\$$ $$*"; "$(CURDIR)/$(BIN)/$$@"; echo; }; \
	rm -rf demo; \
	echo "demo 1/3: train four algorithms on the same synthetic scenarios," \
	  "and compare them on their test rows"; \
	step="comparing algorithms"; \
	run pfrec-compare --data=synthetic --algorithms=local,fedavg,pf_msmtrec,pooled_mmoe --seeds=1 \
	  --output=demo/compare --flagfile=configs/demo.flags; \
	step="reading demo/compare/winner.json"; \
	winner=$$($(BIN)/python -c 'import json; print(json.load(open("demo/compare/winner.json", encoding="utf-8"))["federated"])'); \
	echo "demo 2/3: export the federated algorithm that is best on valid rows ($$winner):" \
	  "one SavedModel for each scenario"; \
	step="exporting"; \
	run pfrec-export --run="demo/compare/$$winner" --output=demo/serving; \
	echo "demo 3/3: verify that the exported models say what the trained ones say"; \
	step="verifying the exports"; \
	run pfrec-verify --serving=demo/serving; \
	echo "demo: PASSED. Comparison in demo/compare/results.md," \
	  "verified models for TensorFlow Serving in demo/serving"

# In the order of tests/conftest.py, which has the longest files begin.
PYTEST := $(BIN)/python -m pytest --dist loadfile --no-loadscope-reorder

# One more at once than two processors run: with two they stood still for a fifth of the time, as
# tests wait for commands that start, end or are killed.
test: setup
	$(PYTEST) -n 3

test-quick: setup
	$(PYTEST) -n 2 -m "not slow"

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pfrec tff_process export
	$(BIN)/lint-imports

# Not a part of check: it asks a service what is known, so it needs a network and its answer changes
# without a change here. A package that it cannot ask about is a failure, not a pass.
audit:
	@if command -v pip-audit >/dev/null 2>&1; then \
	  pip-audit --strict --progress-spinner off --require-hashes --disable-pip -r requirements.txt; \
	else \
	  echo "audit: pip-audit is not installed; install it outside .venv, as with" \
	    "pipx install pip-audit, and run make audit again" >&2; \
	  exit 1; \
	fi

# What pdoc warns of, as an annotation that names nothing, is an error.
docs: setup
	$(BIN)/python docs/build_api.py build/docs

# uv is fetched for this alone, into a directory that is removed again. Only a finished lock takes
# the place of the old one.
lock:
	@set -eu; \
	$(FIND_PYTHON); \
	work=$$(mktemp -d); \
	trap 'rm -rf "$$work"' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	"$$python" -m venv "$$work/venv"; \
	"$$work/venv/bin/python" -m pip --disable-pip-version-check install -qq uv==$(UV_VERSION); \
	cp requirements.txt "$$work/requirements.txt"; \
	"$$work/venv/bin/uv" pip compile --quiet --no-config --cache-dir "$$work/cache" \
	  --python "$$work/venv/bin/python" \
	  --universal --python-version 3.9 --override overrides.txt --generate-hashes \
	  --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make lock" $(LOCK_FLAGS) requirements.in \
	  --output-file "$$work/requirements.txt"; \
	cp "$$work/requirements.txt" requirements.txt; \
	echo "lock: wrote requirements.txt; run make test, which installs it"

clean:
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
