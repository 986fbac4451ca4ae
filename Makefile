# What one can do here. A fresh machine needs cargo, python3 (3.10 or newer) with venv, make and a C compiler; a target
# gets whatever else it needs itself: Debian's packages when it is run by root (or it says what to type), and Python's
# into .venv.

CARGO ?= cargo
PYTHON ?= python3
ADDRESS ?= 127.0.0.1:8000

.PHONY: help run build test soak bench lint clean tools

help:
	@echo "make run    build, and serve an example on $(ADDRESS)"
	@echo "make build  build target/release/ferricorn and target/release/examples/hello"
	@echo "make test   run all tests"
	@echo "make soak   measure what is lost under reloads, upgrades, crashes and other faults, in full (ten minutes)"
	@echo "make bench  measure side by side with other servers"
	@echo "make lint   check formatting, clippy's lints and the documentation"
	@echo "make clean  remove what was built"

run:
	$(CARGO) build --release --example hello
	@echo
	@echo "Open http://$(ADDRESS)/ in your browser. Ctrl+C stops the server."
	@echo "In another terminal: kill -HUP PID reloads it, where PID is the number behind 'Listening at'."
	@echo
	@exec target/release/examples/hello --bind $(ADDRESS) --workers 2 --access-logfile -

build:
	$(CARGO) build --release --bin ferricorn --example hello

# The tests of the running server come last: theirs is the closing line.
test: tools
	$(CARGO) test --lib --bins
	$(CARGO) test --doc
	$(CARGO) test --test tests -- --test-threads 4

soak: tools
	$(CARGO) test --release --test tests soak -- --ignored --nocapture

bench: .venv/bench
	$(CARGO) build --release --bin ferricorn --examples
	.venv/bin/python benches/compare/compare.py $(BENCH)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

clean:
	$(CARGO) clean
	rm -rf .venv benches/compare/results

tools:
	@PYTHON=$(PYTHON) sh tests/tools.sh

.venv/bench:
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet matplotlib
	@touch $@
