# mim-operator. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mim-operator
CARGO ?= cargo
# Debian packages: the lab's node (runc, CNI plug-ins, nftables), images (mmdebstrap), and the database that tests run against.
PACKAGES := runc containernetworking-plugins iptables nftables iproute2 kmod mmdebstrap postgresql-15 postgresql-15-postgis-3
CARGO_DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# Where images are built to; a cluster of yours, and the prefix under which it finds them.
IMAGES ?= dist/images
CONTEXT ?=
REGISTRY ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)/debug
DEMO := $(TARGET)/mim-demo $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))
LAB := $(CARGO) run --quiet --locked -p mim-lab --

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what is missing of the Debian packages (as root), or say what to install
	@missing=""; for p in $(PACKAGES); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "make: installing Debian packages:$$missing"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else echo "make: these packages are missing:$$missing"; echo "make: run as root: apt-get install$$missing"; exit 1; fi; fi
	@command -v go >/dev/null || { echo "make: Go is missing (1.26 or newer): install it from your distribution or https://go.dev/doc/install and put it on PATH"; exit 1; }
	@[ "$$(id -u)" = 0 ] || { echo "make: the lab needs root for bridges, mounts and cgroups: run make as root, or use a cluster of yours with make demo CONTEXT=<kube-context>"; exit 1; }

.PHONY: check
check: $(DENY) ## Formatting, lints, licences, generated files up to date
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) --all-features check licenses bans sources
	$(CARGO) run --quiet --locked -p mim-crds --bin crdgen -- --check

$(DENY):
	@echo "make: installing cargo-deny $(CARGO_DENY_VERSION) into $(CACHE)"
	$(CARGO) install cargo-deny --version $(CARGO_DENY_VERSION) --locked --quiet --root $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION)

.PHONY: generate
generate: ## Write crds/*.yaml, docs/kinds and the CRDs in the chart from the Rust types
	$(CARGO) run --quiet --locked -p mim-crds --bin crdgen

.PHONY: binaries
binaries: deps
	$(CARGO) build --quiet --locked -p mim-lab
	$(TARGET)/mim-lab binaries

.PHONY: test
test: binaries ## All tests, against real servers
	$(CARGO) test --locked --workspace
	$(TARGET)/mim-lab down

.PHONY: proof
proof: binaries ## The tests at an API server with all waits as long as in use: ten idle minutes, one look a minute
	MIM_PROOF=true $(CARGO) test --locked -p mim-tests --test api

.PHONY: demo
demo: $(if $(CONTEXT),,deps) ## One city from sources to answers, in the lab or with CONTEXT=<kube-context> REGISTRY=<prefix>
	$(CARGO) build --locked -p mim-lab -p mim-tests --bins
	@$(DEMO) --images $(IMAGES)

.PHONY: demo-down
demo-down: ## Take away what the demo made: the lab, or with CONTEXT=<kube-context> the city and the operator
	$(CARGO) build --locked -p mim-lab -p mim-tests --bins
	@$(DEMO) --down

.PHONY: lab-up
lab-up: deps ## Start the lab: a real single-node Kubernetes on this machine
	@$(LAB) up

.PHONY: lab-down
lab-down: ## End the lab and leave nothing of it
	@$(LAB) down

.PHONY: images
images: deps ## Build the images as OCI archives, with bills of materials and the release catalogue, into IMAGES=<folder>
	@$(LAB) images --out $(IMAGES)

.PHONY: bench
bench: ## Benchmarks as tables and bench/results/<name>.json: all, or ONLY=operator; ARGS="--objects 100 --idle-minutes 1" for a short one
	$(CARGO) build --release --locked -p mim-operator
	$(CARGO) build --release --locked -p mim-bench
	@for name in $(or $(ONLY),$(basename $(notdir $(wildcard bench/src/bin/*.rs)))); do \
	  $(CARGO) run --quiet --release --locked -p mim-bench --bin "bench-$$name" -- $(ARGS); done
