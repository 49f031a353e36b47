# The front door: `make help`. Everything goes through cargo, which honours CARGO_TARGET_DIR.

CARGO ?= cargo
BOOK ?= testdata/books/opticks.txt

.DEFAULT_GOAL := help
.PHONY: help demo run test test-unit test-functional lint format bench

help: ## Says what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

demo: ## Starts a server, counts the words of a book over HTTP, and stops it
	@$(CARGO) run --locked --package gristmill -- demo $(BOOK)

run: ## Runs a server on 127.0.0.1:8080 with its data in ./data, until Ctrl-C
	@$(CARGO) run --locked --release --package gristmill -- serve

test: ## Runs every test: units, functional tests, examples in the documentation, the model of the protocol
	@.ci/tally $(CARGO) test --workspace --locked --no-fail-fast

test-unit: ## Runs the tests inside the crates alone
	@.ci/tally $(CARGO) test --workspace --locked --no-fail-fast --lib --bins

test-functional: ## Runs the tests against real parts alone, and the model of the protocol
	@$(CARGO) build --workspace --locked --examples
	@.ci/tally $(CARGO) test --workspace --locked --no-fail-fast --test '*'

lint: ## Checks the layout, clippy, the documentation, the layering and the licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	@deny=$$(.ci/tools) && echo "cargo-deny check bans licenses sources" && \
		"$$deny" --workspace --locked check --hide-inclusion-graph bans licenses sources

format: ## Lays the code out
	$(CARGO) fmt --all

bench: ## Measures, in a release build; docs/benchmarks.md says what. `make bench ARGS=--quick` is a short try
	@$(CARGO) build --locked --release --package gristmill --package gristmill-bench
	@$(CARGO) run --locked --release --package gristmill-bench -- $(ARGS)
