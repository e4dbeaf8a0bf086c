# What each target needs, it installs itself: Rust packages by cargo, Python packages into target/venv.

PYTHON ?= python3
VENV := target/venv
DEMO := target/demo
export ANSWERLAKE_TEST_PYTHON := $(CURDIR)/$(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help demo test check long bench dist doc fmt clean-demo

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: ## Run the main job against an emulated source, and show the lake; again: nothing left to do
	cargo run --release --quiet -- demo $(DEMO) --log warn

clean-demo: ## Remove what the demo made
	rm -rf $(DEMO)

test: $(VENV)/ready ## Run all tests
	cargo test --workspace

check: $(VENV)/ready ## Format, lints, docs and tests: what CI runs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps --document-private-items
	cargo test --workspace

long: $(VENV)/ready ## Many cases, big data, optimised: minutes
	PROPTEST_CASES=20000 cargo test --release --workspace --no-fail-fast -- --include-ignored
	PROPTEST_CASES=200000 cargo test --release --package answerlake-transform --test properties

bench: ## Measure the stages, and all of it end to end, on seeded data: a table
	@cargo bench --quiet --bench stages

dist: ## Build the program as it is shipped
	cargo build --profile dist
	@ls -l target/dist/answerlake

doc: ## Build the reference docs
	RUSTDOCFLAGS='--deny warnings' cargo doc --workspace --no-deps

fmt: ## Format all sources
	cargo fmt --all

$(VENV)/ready: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
