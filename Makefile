# mim-operator. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mim-operator
CARGO ?= cargo
# Debian packages. What Rust's and Go's programs are linked with (ring compiles C), and git, which images ask for their revision.
BUILD_PACKAGES := gcc libc6-dev git
IMAGE_PACKAGES := mmdebstrap
LAB_PACKAGES := runc containernetworking-plugins iptables nftables iproute2 kmod
# The peer of the gateway's benchmark.
NGINX_PACKAGES := nginx-light
# What tests run against: the database, the MQTT broker that receives notifications.
TEST_PACKAGES := postgresql-15 postgresql-15-postgis-3 mosquitto
# libFuzzer is C++, and compiled here.
FUZZ_PACKAGES := g++
# What ETSI's suite is run with beside these: Robot Framework, a network of its own.
ETSI_PACKAGES := python3 python3-venv iproute2 util-linux
# What the validator is compared with: Python's jsonschema, whose sources have the official JSON Schema test suite in them.
ORACLE_PACKAGES := python3 python3-venv
ORACLE := $(CACHE)/json-schema-oracle-4.23.0
PIP_QUIET := --quiet --disable-pip-version-check --require-hashes
# What the validator is measured beside: Ajv, fastjsonschema and Python's jsonschema. Any Node.js will do.
PEER_PACKAGES := $(if $(shell command -v npm),,nodejs npm) python3 python3-venv
# Debian's own are older, so make does not install these two: Rust as rust-toolchain.toml pins it, Go as the lab's go.mod files ask for.
RUST_VERSION := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
GO_VERSION := 1.26
CARGO_DENY_VERSION := 0.20.2
DENY := $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# Where images are built to; a cluster of yours, and the prefix under which it finds them; a checkout of ETSI's NGSI-LD test suite.
IMAGES ?= dist/images
CONTEXT ?=
REGISTRY ?=
SUITE ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)/debug
# How long each fuzz target runs.
SECONDS ?= 60
DEMO := $(TARGET)/mim-demo $(if $(CONTEXT),--context $(CONTEXT)) $(if $(REGISTRY),--registry $(REGISTRY))
LAB := $(CARGO) run --quiet --locked -p mim-lab --

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installs what is missing of some Debian packages (as root), or says what to install.
define packages
@if ! command -v dpkg-query >/dev/null; then \
  echo "make: this is not Debian, so make installs nothing; it needs what these Debian packages hold: $(1)"; exit 0; fi; \
missing=""; for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; done; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "make: installing Debian packages:$$missing"; \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
  else echo "make: these packages are missing:$$missing"; echo "make: run as root: apt-get install$$missing"; exit 1; fi; fi
endef

.PHONY: deps
deps: deps-lab oracle ## Install what is missing of the Debian packages (as root), or say what to install
	$(call packages,$(TEST_PACKAGES))

.PHONY: oracle
oracle: $(ORACLE)/json ## Install what the validator is compared with, from PyPI into the cache

# The suite comes last: where it is, all is. A virtual environment cannot be moved.
$(ORACLE)/json: validator/tests/oracle/requirements.txt validator/tests/oracle/suite.txt
	$(call packages,$(ORACLE_PACKAGES))
	@echo "make: installing Python's jsonschema and the official test suite into $(ORACLE)"
	@rm -rf $(ORACLE) && mkdir -p $(ORACLE)/sources && python3 -m venv $(ORACLE)/venv
	@$(ORACLE)/venv/bin/pip install $(PIP_QUIET) --only-binary :all: -r validator/tests/oracle/requirements.txt
	@$(ORACLE)/venv/bin/pip download $(PIP_QUIET) --no-deps --no-binary :all: -d $(ORACLE)/sources -r validator/tests/oracle/suite.txt
	@tar -xzf $(ORACLE)/sources/jsonschema-*.tar.gz -C $(ORACLE)/sources --strip-components=1
	@mv $(ORACLE)/sources/json $(ORACLE)/json && rm -rf $(ORACLE)/sources && touch $(ORACLE)/json

# A database alone.
.PHONY: deps-database
deps-database: deps-build
	$(call packages,$(TEST_PACKAGES))

# What the gateway is compared with.
.PHONY: deps-nginx
deps-nginx: deps-build
	$(call packages,$(NGINX_PACKAGES))

# What cargo needs before its first build.
.PHONY: deps-build
deps-build:
	$(call packages,$(BUILD_PACKAGES))
	@found="$$(rustc --version 2>/dev/null | cut -d' ' -f2 || true)"; \
	printf '%s\n' "$(RUST_VERSION)" "$${found:-0}" | sort -V -C || { \
	  echo "make: Rust $(RUST_VERSION) is needed, found: $${found:-none}. Install it with rustup (https://rustup.rs), which reads rust-toolchain.toml"; exit 1; }

.PHONY: deps-go
deps-go:
	@found="$$(go env GOVERSION 2>/dev/null || true)"; \
	printf '%s\n' "go$(GO_VERSION)" "$${found:-0}" | sort -V -C || { \
	  echo "make: Go $(GO_VERSION) or newer is needed, found: $${found:-none}. Install it (https://go.dev/doc/install) and put it on PATH"; exit 1; }

.PHONY: deps-images
deps-images: deps-build
	@[ "$$(uname -m)" = x86_64 ] || { echo "make: images are built on amd64 only so far, this is $$(uname -m); see images/README.md"; exit 1; }
	$(call packages,$(IMAGE_PACKAGES))

# Before anything is installed or built, both to start the lab and to end it.
.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "make: the lab needs root for bridges, mounts and cgroups: run make as root, or use a cluster of yours with make demo CONTEXT=<kube-context>"; exit 1; }

.PHONY: deps-lab
deps-lab: root deps-images deps-go
	$(call packages,$(LAB_PACKAGES))

.PHONY: check
check: deps-build $(DENY) ## Formatting, lints, licences, advisories where their database can be reached, generated files up to date
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) --all-features check licenses bans sources
	@if timeout 120 $(DENY) fetch db >/dev/null 2>&1; then \
	  echo "$(DENY) --all-features --offline check advisories"; $(DENY) --all-features --offline check advisories; \
	else echo "make: advisories are not checked: their database cannot be reached"; fi
	$(CARGO) run --quiet --locked -p mim-crds --bin crdgen -- --check

$(DENY): | deps-build
	@echo "make: installing cargo-deny $(CARGO_DENY_VERSION) into $(CACHE)"
	$(CARGO) install cargo-deny --version $(CARGO_DENY_VERSION) --locked --quiet --root $(CACHE)/cargo-deny-$(CARGO_DENY_VERSION)

.PHONY: generate
generate: deps-build ## Write crds/*.yaml, docs/kinds and the CRDs in the chart from the Rust types
	$(CARGO) run --quiet --locked -p mim-crds --bin crdgen

.PHONY: binaries
binaries: deps-lab ## Build the lab's programs (Kubernetes, helm and others) into the cache
	$(CARGO) build --quiet --locked -p mim-lab
	$(TARGET)/mim-lab binaries

# Tests mostly wait, so four sorts of them run beside each other: those at an API server, those of the services and those of images and control planes each
# have servers of their own, and there is one lab for the fourth. The first three write to logs, which are shown when the fourth has ended. All but mim-tests
# are one selection, which is built once; what runs is chosen by the names of its test programs.
API_TESTS := -p mim-tests --test api
CITY_TESTS := -p mim-tests --lib --bins \
  $(patsubst %,--test %,$(filter-out api,$(shell sed -n '/^\[\[test/{n;s/^name = "\(.*\)"/\1/p}' tests/Cargo.toml)))
SELECTION := --workspace --exclude mim-tests
test-names = $(sort $(basename $(notdir $(wildcard $(1:=/tests/*.rs)) $(patsubst %/main.rs,%,$(wildcard $(1:=/tests/*/main.rs))))))
CRATES := $(filter-out lab tests,$(patsubst %/Cargo.toml,%,$(wildcard */Cargo.toml */*/Cargo.toml)))
# These two are about the node and its kernel.
NODE_TESTS := node netpol
LAB_TESTS := $(SELECTION) $(patsubst %,--test %,$(NODE_TESTS))
IMAGE_TESTS := $(SELECTION) $(patsubst %,--test %,$(filter-out $(NODE_TESTS),$(call test-names,lab)))
SERVICE_TESTS := $(SELECTION) --lib --bins $(patsubst %,--test %,$(call test-names,$(CRATES)))

.PHONY: test
test: deps binaries ## All tests, against real servers
	@date +%s >$(TARGET)/test-began
	$(CARGO) test --locked $(SELECTION) --no-run
	$(CARGO) test --locked -p mim-tests --no-run
	$(CARGO) test --locked $(SELECTION) --test faults -- --quiet rolling::the_broker_before_is_built
	@echo "make: the programs of the images are built first: some tests are about seconds, and compilers beside them take these"
	$(TARGET)/mim-lab images --out $(IMAGES)
	@began=$$(cat $(TARGET)/test-began); built=$$(date +%s); \
	: A failed test says in words what was not so. Frames of the test itself add nothing, and bury that.; \
	export RUST_BACKTRACE=0; \
	echo "make: the tests at an API server, of the services, and of images run beside the others and write to $(TARGET)/test-{api,services,images}.log"; \
	: Ends the tests beside however the others end, and the lab too, unless it was up before.; \
	declare -A beside; down=:; trap 'for group in "$${beside[@]}"; do kill -- -$$group 2>/dev/null || true; done; $$down' EXIT; \
	start() { setsid $(CARGO) test --locked --no-fail-fast "$${@:2}" >$(TARGET)/test-$$1.log 2>&1 & beside[$$1]=$$!; }; \
	: A larger heap of the API servers makes the tests of crashes a tenth cheaper.; \
	GOGC=400 start api $(API_TESTS); \
	start services $(SERVICE_TESTS); \
	start images $(IMAGE_TESTS); \
	$(TARGET)/mim-lab status >/dev/null 2>&1 || down="$(TARGET)/mim-lab down"; \
	failed=0; \
	for tests in "$(LAB_TESTS)" "$(CITY_TESTS)" "$(SELECTION) --doc"; do $(CARGO) test --locked --no-fail-fast $$tests || failed=$$?; done \
	  > >(tee $(TARGET)/test-lab.log) 2>&1; \
	for sort in images services api; do \
	  tail -n +1 -f --pid=$${beside[$$sort]} $(TARGET)/test-$$sort.log; wait $${beside[$$sort]} || failed=$$?; unset "beside[$$sort]"; \
	done; \
	for log in $(TARGET)/test-{lab,images,services,api}.log; do \
	  ! grep -q '^test result: FAILED' $$log || { echo "make: what failed in short; all of it is in $$log"; grep -A 4 '^thread .* panicked at' $$log | cut -c1-400 || true; }; \
	done; \
	grep -ho 'left out: .*' $(TARGET)/test-{lab,images,services,api}.log | sed 's/^/make: /' || true; \
	echo "make: the tests were built in $$((built - began)) s and ran for $$(($$(date +%s) - built)) s"; exit $$failed
	@if command -v c++ >/dev/null; then $(MAKE) --no-print-directory fuzz SECONDS=2; else \
	  echo "make: fuzz targets are left out: libFuzzer needs a C++ compiler, which make fuzz installs"; fi

# The programs are built of the same dependencies as the tests; only the crates of the workspace are instrumented. What a target
# learns is kept beside them, for the next time.
FUZZ := services/broker/fuzz
.PHONY: fuzz
fuzz: deps-build ## Look for texts that break the broker's grammars, with libFuzzer: SECONDS=60 for each; all, or ONLY=q, geo, json_ld, time, scope
	$(call packages,$(FUZZ_PACKAGES))
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/$(FUZZ)/instrument \
	  $(CARGO) build --locked $(SELECTION) --features mim-broker/fuzzing --example 'fuzz-*'
	@failed=0; for grammar in $(or $(ONLY),$(notdir $(wildcard $(FUZZ)/seeds/*))); do \
	  kept=$(TARGET)/fuzz/$$grammar; mkdir -p $$kept/learned; \
	  if $(TARGET)/examples/fuzz-$$grammar $$kept/learned $(FUZZ)/seeds/$$grammar -artifact_prefix=$$kept/ -max_total_time=$(SECONDS) -timeout=10 \
	    -verbosity=0 -print_final_stats=1 >$$kept/log 2>&1; \
	  then sed -n "s/^stat::number_of_executed_units: */make: fuzz $$grammar: texts tried in $(SECONDS) s: /p" $$kept/log; \
	  else failed=1; cat $$kept/log; echo "make: fuzz $$grammar: the text above, in $$kept, breaks what is promised; CONTRIBUTING.md says what to do with it"; fi; \
	done; exit $$failed

.PHONY: etsi
etsi: deps-build ## ETSI's NGSI-LD test suite against the broker: SUITE=<checkout>, ARGS="--only discovery" for a part; see tests/etsi/README.md
	@[ -n "$(SUITE)" ] || { echo "make: say where ETSI's test suite is: make etsi SUITE=<checkout>; tests/etsi/README.md says how to get it"; exit 1; }
	$(call packages,$(TEST_PACKAGES) $(ETSI_PACKAGES))
	$(CARGO) build --locked -p mim-broker -p mim-etsi
	@$(TARGET)/mim-etsi --suite $(SUITE) $(ARGS)

.PHONY: proof
proof: deps binaries ## What takes too long for each change: the tests at an API server with all waits as long as in use (ten idle minutes), a receiver that is down for ten, images built twice, the demo on a cluster by its kubeconfig
	$(CARGO) build --locked -p mim-broker
	MIM_PROOF=true $(CARGO) test --locked -p mim-tests --test api
	@: Alone, as the rate is asserted under which something is killed.
	MIM_PROOF=true $(CARGO) test --locked -p mim-broker --test faults -- --test-threads=1 --nocapture loses_no_write_and_no_notification
	MIM_PROOF=true $(CARGO) test --locked -p mim-broker --test faults -- ten_minutes
	$(LAB) images --check --out $(IMAGES)
	@: The lab, as any cluster of somebody: known by its kubeconfig alone, with the archives in its node, reached by forwards.
	down=:; trap '$$down' EXIT; $(LAB) status >/dev/null 2>&1 || down="$(LAB) down"; \
	$(LAB) up; $(LAB) load $(IMAGES)/*.tar; eval "$$($(LAB) env)"; \
	$(MAKE) demo CONTEXT=mim-lab; $(MAKE) demo-down CONTEXT=mim-lab

.PHONY: demo
demo: $(if $(CONTEXT),deps-build,deps-lab) ## One city from sources to answers, in the lab or with CONTEXT=<kube-context> REGISTRY=<prefix>
	$(CARGO) build --locked -p mim-lab -p mim-tests --bins
	@$(DEMO) --images $(IMAGES)

.PHONY: demo-down
demo-down: $(if $(CONTEXT),,root) deps-build ## Take away what the demo made: the lab, or with CONTEXT=<kube-context> the city and the operator
	$(CARGO) build --locked -p mim-lab -p mim-tests --bins
	@$(DEMO) --down

.PHONY: lab-up
lab-up: deps-lab ## Start the lab: a real single-node Kubernetes on this machine
	@$(LAB) up

.PHONY: lab-down
lab-down: root deps-build ## End the lab and leave nothing of it
	@$(LAB) down

.PHONY: images
images: deps-images ## Build the images, as any user, as OCI archives, with bills of materials and the release catalogue, into IMAGES=<folder>
	@$(LAB) images --out $(IMAGES)

# What each benchmark needs, and which programs it starts beside itself: with ONLY=broker neither the lab nor the operator.
BENCHES := $(or $(ONLY),$(basename $(notdir $(wildcard bench/src/bin/*.rs))))
BENCH_NEEDS_city := deps-lab
BENCH_NEEDS_operator := deps-build deps-go
BENCH_NEEDS_broker := deps-database
BENCH_NEEDS_gateway := deps-nginx
BENCH_NEEDS_validator := validator-peers
BENCH_STARTS_city := --package=mim-operator --package=mim-lab
BENCH_STARTS_operator := --package=mim-operator --package=mim-lab
BENCH_STARTS_broker := --package=mim-broker
BENCH_STARTS_gateway := --package=mim-gateway
BENCH_STARTS := $(sort $(foreach name,$(BENCHES),$(BENCH_STARTS_$(name))))

# The validator's peers and the attribute tables of Smart Data Models, each at one version, by digest.
PEERS := $(CACHE)/bench-validator
PEERS_FROM := bench/validator/requirements.txt bench/validator/tables.txt bench/validator/package-lock.json
.PHONY: validator-peers
validator-peers: deps-build $(PEERS)/smartdatamodels.json.gz
$(PEERS)/smartdatamodels.json.gz: $(PEERS_FROM)
	$(call packages,$(PEER_PACKAGES))
	@echo "make: installing the validator's peers into $(PEERS)"
	@rm -rf $(PEERS) && mkdir -p $(PEERS) && cp bench/validator/package.json bench/validator/package-lock.json $(PEERS) && cd $(PEERS) && npm ci --silent
	@python3 -m venv $(PEERS)/venv && $(PEERS)/venv/bin/pip install $(PIP_QUIET) --only-binary :all: -r bench/validator/requirements.txt
	@$(PEERS)/venv/bin/pip download $(PIP_QUIET) --no-deps --only-binary :all: -d $(PEERS)/tables -r bench/validator/tables.txt
	@python3 -m zipfile -e $(PEERS)/tables/*.whl $(PEERS)/tables && mv $(PEERS)/tables/pysmartdatamodels/model-assets/smartdatamodels.json.gz $(PEERS) && touch $@

.PHONY: bench
bench: deps-build $(foreach name,$(BENCHES),$(BENCH_NEEDS_$(name))) ## Benchmarks as tables and bench/results/<name>.json: all, or ONLY=operator, city, broker, gateway, validator; with ONLY also ARGS="--help"
	@[ -n "$(ONLY)" ] || [ -z "$(ARGS)" ] || { echo "make: each benchmark has arguments of its own: say which one, make bench ONLY=operator ARGS=\"$(ARGS)\""; exit 1; }
	$(if $(BENCH_STARTS),$(CARGO) build --release --locked $(BENCH_STARTS))
	$(CARGO) build --release --locked -p mim-bench
	@export MIM_BENCH_VALIDATOR=$(PEERS); for name in $(BENCHES); do \
	  $(CARGO) run --quiet --release --locked -p mim-bench --bin "bench-$$name" -- $(ARGS); done

.PHONY: bench-policy
bench-policy: deps-build ## mim-policy beside Cedar and Rego on the same rules; a crate apart, as nothing else builds these engines
	@$(CARGO) run --release --locked --manifest-path bench/policy/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)/bench-policy
