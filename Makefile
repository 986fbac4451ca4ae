# What one can do here. A fresh machine needs cargo, python3 (3.10 or newer) with venv, make and a C compiler; a target
# gets whatever else it needs itself: Debian's packages when it is run by root (or it says what to type), and Python's
# into .venv.

CARGO ?= cargo
PYTHON ?= python3
ADDRESS ?= 127.0.0.1:8000

# What the Python package is made of.
WHEEL := $(shell find src python/src python/ferricorn -type f -not -name '*.pyc') Cargo.toml python/Cargo.toml python/Cargo.lock \
	python/build.rs python/pyproject.toml

.PHONY: help run build wheel test test-python test-pythons test-install soak loom bench bench-wsgi bench-blocked lint clean tools

help:
	@echo "make run    build, and serve an example on $(ADDRESS)"
	@echo "make build  build .venv/bin/ferricorn (with Python), target/release/ferricorn and target/release/examples/hello"
	@echo "make wheel  build the wheel that is published, into target/wheels: compiled by what a first build was seen to do"
	@echo "make test   run all tests"
	@echo "make test-pythons  those of Python with each CPython from 3.10 to 3.13 that is here; part of make test"
	@echo "make test-install  install the committed state in a new virtual environment"
	@echo "make soak   measure what is lost under reloads, upgrades, crashes and other faults, in full (ten minutes; SOAK=doors: reloads over each protocol)"
	@echo "            SOAK=slow-clients,php make soak: only these, by their names in tests/soak.rs"
	@echo "make bench  measure side by side with other servers, a quarter of an hour"
	@echo "make bench-wsgi  the same for Python's servers, twenty minutes"
	@echo "make bench-blocked  what clients notice of others whose requests block, and what threads cost, ten minutes"
	@echo "make loom   check the memory ordering between the threads of a worker, in every interleaving"
	@echo "make lint   check formatting, clippy's lints, the documentation and Python's types"
	@echo "make clean  remove what was built"

run: .venv/wheel
	@echo
	@echo "Open http://$(ADDRESS)/ in your browser. Ctrl+C stops the server."
	@echo "In another terminal: kill -HUP PID reloads it, where PID is the number behind 'Listening at'."
	@echo
	@exec .venv/bin/ferricorn --bind $(ADDRESS) --workers 2 --access-logfile - --chdir examples hello

build: .venv/wheel
	$(CARGO) build --release --bin ferricorn --example hello

# The wheel that is published.
wheel: target/wheels/built

# The tests of the running server come last: theirs is the closing line.
test: tools test-python test-pythons
	$(CARGO) test --lib --bins
	$(CARGO) test --doc
	$(CARGO) test --test tests -- --test-threads 4

# With the wheel that is published.
test-python: tools .venv/release
	.venv/bin/pip install --quiet --requirement python/tests/requirements.txt
	.venv/bin/pytest --quiet --config-file python/pyproject.toml python/tests
	.venv/bin/python -m pytest --quiet -p no:cacheprovider benches/compare/tests

# The interpreters that are in PATH or pyenv's, besides that of .venv.
test-pythons: .venv/release
	.venv/bin/python python/tests/pythons.py

# What somebody does who has just heard of it: clone, make a virtual environment, install, serve.
test-install:
	rm -rf target/clone && git clone --quiet --local . target/clone
	$(PYTHON) -m venv target/clone/.venv
	CARGO_TARGET_DIR=$(CURDIR)/target/clone-target MATURIN_PEP517_ARGS="--profile dev" target/clone/.venv/bin/pip install --quiet target/clone/python
	cd target/clone/examples && ../.venv/bin/ferricorn --check-config hello && ../.venv/bin/ferricorn --version

soak: tools .venv/wheel
	.venv/bin/pip install --quiet --requirement python/tests/requirements.txt
	.venv/bin/pytest --quiet --config-file python/pyproject.toml -m soak --capture no python/tests
	$(CARGO) test --release --test tests soak -- --ignored --nocapture --test-threads 1

bench: .venv/bench
	$(CARGO) build --release --bin ferricorn --examples
	.venv/bin/python benches/compare/compare.py $(BENCH)

# The Python servers alone.
bench-wsgi: .venv/release
	$(MAKE) bench BENCH="--group wsgi $(BENCH)"

# What clients notice of each other.
bench-blocked: .venv/release
	$(MAKE) bench BENCH="--group blocked $(BENCH)"

# In a directory of its own, as everything is built with other atomics.
loom:
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$(CURDIR)/target/loom $(CARGO) test --lib worker::lead

lint: .venv/mypy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) fmt --manifest-path python/Cargo.toml --check
	$(CARGO) clippy --manifest-path python/Cargo.toml -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
	.venv/bin/mypy --strict python/ferricorn

clean:
	$(CARGO) clean
	$(CARGO) clean --manifest-path python/Cargo.toml
	rm -rf .venv benches/compare/results

.venv/pyvenv.cfg:
	$(PYTHON) -m venv .venv

# The Python package, as pip installs it from a clone.
.venv/wheel: $(WHEEL) | .venv/pyvenv.cfg
	.venv/bin/pip install --quiet ./python
	@rm -f .venv/release
	@touch $@

# Compiled with counters, trained, and compiled by what was counted (python/training); for the Python of .venv.
target/wheels/built: $(WHEEL) $(wildcard python/training/*.py python/training/*.sh) python/tests/gateways.py .venv/pyvenv.cfg
	rm -rf target/wheels
	@echo "The wheel is compiled twice, and serves what servers serve in between: three to five minutes."
	profdata=$$(sh python/training/profdata.sh) && \
		PATH="$$profdata:$$PATH" MATURIN_PGO=1 CARGO_TARGET_DIR=$(CURDIR)/target/guided \
		.venv/bin/pip wheel --quiet --no-deps --wheel-dir target/wheels ./python
	@touch $@

# That wheel in .venv, in the place of what `make build` has left there.
.venv/release: target/wheels/built
	.venv/bin/pip install --quiet --no-deps --force-reinstall target/wheels/*.whl
	@touch .venv/wheel $@

.venv/mypy: Makefile | .venv/pyvenv.cfg
	.venv/bin/pip install --quiet mypy==2.4.1
	@touch $@

tools:
	@PYTHON=$(PYTHON) sh tests/tools.sh

.venv/bench: benches/compare/requirements.txt | .venv/pyvenv.cfg
	.venv/bin/pip install --quiet matplotlib
	@touch $@
