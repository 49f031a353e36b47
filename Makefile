# The front door: `make help`. Everything goes through cargo, which honours CARGO_TARGET_DIR.

CARGO ?= cargo
WITH_SERVICES := deploy/services run --
BOOK ?= testdata/books/opticks.txt

.DEFAULT_GOAL := help
.PHONY: help demo run test test-unit test-functional test-faults services programs run-local lint format bench

help: ## Says what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' Makefile

demo: ## Starts a server, counts the words of a book over HTTP, and stops it
	@$(CARGO) run --locked --package gristmill -- demo $(BOOK)

run: ## Runs a server on 127.0.0.1:8080 with its data in ./data, until Ctrl-C
	@$(CARGO) run --locked --release --package gristmill -- serve

test: services programs ## Runs every test: units, functional tests, examples in the documentation, the model of the protocol
	@$(WITH_SERVICES) .ci/tally $(CARGO) test --workspace --locked --no-fail-fast

test-unit: ## Runs the tests inside the crates alone
	@.ci/tally $(CARGO) test --workspace --locked --no-fail-fast --lib --bins

test-functional: services programs ## Runs the tests against real parts alone, and the model of the protocol
	@$(WITH_SERVICES) .ci/tally $(CARGO) test --workspace --locked --no-fail-fast --test '*'

test-faults: services programs ## Causes faults under a load, and counts what was lost: `ARGS=--long` takes its time
	@$(WITH_SERVICES) $(CARGO) run --locked --package gristmill-faults -- $(ARGS)

services: ## Installs RabbitMQ, nginx and a MongoDB server or its stand-in, where they are missing and it may
	@deploy/services install

# Tests start programs of other packages than their own.
programs:
	@$(CARGO) build --workspace --locked --bins --examples

run-local: services ## Runs the whole fleet without Docker, on http://127.0.0.1:8080, until Ctrl-C
	@$(CARGO) build --locked --release --bins
	@deploy/run-local $(ARGS)

lint: ## Checks the layout, clippy, the documentation, the layering and the licences
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked
	@deny=$$(.ci/tools) && echo "cargo-deny check bans licenses sources" && \
		"$$deny" --workspace --locked check --hide-inclusion-graph bans licenses sources

format: ## Lays the code out
	$(CARGO) fmt --all

bench: services ## Measures, in a release build; docs/benchmarks.md says what. `make bench ARGS=--quick` is a short try
	@$(CARGO) build --locked --release --workspace --bins
	@$(WITH_SERVICES) $(CARGO) run --locked --release --package gristmill-bench -- $(ARGS)

# --- Docker: docker-compose.yml, and deploy/compose/README.md. `-prod` is the fleet; `-dev` the same with its ports
# --- open and more said, and the tests and lints within a container that has all they need.

COMPOSE_PROD := deploy/compose/compose prod
COMPOSE_DEV := deploy/compose/compose dev
IN_DEV = $(COMPOSE_DEV) run --rm --no-deps dev make
.PHONY: coverage secrets local-images check-manifests check-units check-monitoring \
	build-prod run-prod down-prod build-dev run-dev down-dev \
	test-unit-dev test-functional-dev coverage-dev lint-dev format-dev

coverage: services ## Measures which lines the tests reach; the report is target/coverage/tarpaulin-report.html
	@$(WITH_SERVICES) .ci/coverage $(ARGS)

secrets: ## Makes the passwords of the fleet in Docker, once, in deploy/compose/secrets
	@deploy/compose/make-secrets

local-images: ## Makes images that stand in for rust, mongo, rabbitmq and nginx where none can be pulled
	@deploy/compose/local-images/build

build-prod: secrets ## Builds the image of the four programs
	@$(COMPOSE_PROD) build api

run-prod: build-prod ## Starts the fleet in Docker, and waits until it is ready
	@$(COMPOSE_PROD) up --detach $(ARGS)
	@deploy/compose/wait $${GRISTMILL_PORT:-8080}

down-prod: ## Stops it; its data stays in volumes
	@$(COMPOSE_PROD) down

build-dev: secrets ## Builds the image, and the container to develop in
	@$(COMPOSE_DEV) build api dev

run-dev: secrets ## Starts the fleet with its ports open to this machine, debug logs and the test types
	@$(COMPOSE_DEV) up --detach --build $(ARGS)
	@deploy/compose/wait $${GRISTMILL_PORT:-8080}

down-dev: ## Stops it
	@$(COMPOSE_DEV) down

test-unit-dev: ## `make test-unit` in the container
	@$(IN_DEV) test-unit

test-functional-dev: ## `make test-functional` in the container
	@$(IN_DEV) test-functional

coverage-dev: ## `make coverage` in the container
	@$(IN_DEV) coverage

lint-dev: ## `make lint` in the container
	@$(IN_DEV) lint

format-dev: ## `make format` in the container
	@$(IN_DEV) format

check-manifests: ## Checks deploy/kubernetes against Kubernetes' schema
	@deploy/kubernetes/check

check-units: ## Checks deploy/systemd with systemd-analyze
	@deploy/systemd/check

check-monitoring: ## Checks deploy/monitoring with promtool, and that each metric in it is one there is
	@deploy/monitoring/check
