# The index of everything one can do here; `make help` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unversioned)
PROGRAMS := ./cluster/cmd/ciao ./singlevm/cmd/singlevm ./bat/cmd/bat ./ccloudvm/cmd/ccloudvm
GO := go
GOFLAGS_BUILD := -trimpath -ldflags '-s -w -X main.version=$(VERSION)'
STATICCHECK := $(GO) tool -modfile=tools.mod staticcheck
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the operating system's packages that ciao uses, and start Docker if it does not run
	@scripts/deps

.PHONY: build
build: ## Build bin/ciao, bin/singlevm, bin/bat and bin/ccloudvm (static)
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -o bin/ $(PROGRAMS)

.PHONY: check
check: ## Look for faults without running: gofmt, vet, staticcheck, import rules, stale generated text
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi
	@$(GO) mod verify >/dev/null && $(GO) mod tidy -diff
	@$(GO) vet ./...
	@$(STATICCHECK) ./...
	@$(GO) test -count=1 .

.PHONY: test
test: deps build check test-code test-machine test-faults test-vm ## Prove code, kernel, engine, clusters on this machine and in a VM

.PHONY: test-code
test-code: ## Test every package with the race detector (needs root and docker for some; see REQUIRE in docs/testing.md)
	@REQUIRE=$${REQUIRE-root,docker,qemu,commands} $(SUDO) $(GO) test -race -shuffle=on -timeout 20m ./...

.PHONY: test-machine
test-machine: build ## Set clusters up on this machine, run the acceptance suite against them, remove them without a trace
	@REQUIRE=all $(SUDO) $(GO) test -count=1 -p 1 -timeout 30m -run '^TestMachine' -skip '$(FAULTS)|$(CHAOS)' ./singlevm ./bat

# Tests that kill the machine's Docker Engine again and again.
FAULTS = ^TestMachine(CleanupAfterKill|FiftyContainersUnderKills|OutsideAfterEngineRestart)$$

.PHONY: test-faults
test-faults: build ## Kill every daemon and the Docker Engine while clusters work on this machine
	@REQUIRE=all $(SUDO) $(GO) test -count=1 -p 1 -timeout 30m -run '$(FAULTS)' ./singlevm

# Random faults; a lane of its own until it has passed often enough to gate a change.
CHAOS = ^TestMachineChaos$$

.PHONY: test-chaos
test-chaos: build ## Strike a working cluster at random, CIAO_CHAOS_ROUNDS times (100)
	@REQUIRE=all $(SUDO) $(GO) test -count=1 -timeout 60m -run '$(CHAOS)' ./singlevm

.PHONY: test-ceph
test-ceph: build ## Keep disks in a real Ceph cluster, with its packages (Debian) installed for that
	@scripts/deps ceph
	@REQUIRE=all $(SUDO) $(GO) test -count=1 -p 1 -timeout 30m -run Ceph ./cluster/storage/ceph ./cluster/driver/vm ./singlevm

.PHONY: test-vm
test-vm: build ## Create development VMs, and prove the cluster in one
	@REQUIRE=all $(GO) test -count=1 -p 1 -timeout 60m -run '^TestDevelopmentVM' ./ccloudvm/...

.PHONY: singlevm
singlevm: deps build ## Bring a real cluster up on this machine and prove that it works
	@$(SUDO) bin/singlevm setup
	@$(SUDO) bin/singlevm verify

.PHONY: bat
bat: build ## Run the acceptance suite against the cluster that singlevm set up
	@$(SUDO) bin/bat

.PHONY: ciao-vm
ciao-vm: deps build ## Create a development VM, bring a cluster up in it and prove that it works
	@scripts/ciao-vm

.PHONY: bench
bench: deps build ## Measure; the figures and the method are in docs/performance.md
	@scripts/bench

.PHONY: clean
clean: ## Remove the cluster that singlevm set up, and what the build made
	@if [ -x bin/singlevm ]; then $(SUDO) bin/singlevm cleanup; fi
	@rm -rf bin
