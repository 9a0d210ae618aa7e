# Wattline's workshop. `make help` lists what it can do; `make run` shows the
# whole system, `make test` is what continuous integration runs.
#
# Everything made stands in bin/ and .cache/; the data of `make run` in var/.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build
MAKEFLAGS   += --no-builtin-rules

GO       ?= go
ifndef VERSION
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
endif
LDFLAGS  := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 30s
# PKG narrows test, race, cover and fuzz: make race PKG=./edge/...
PKG      ?= ./...

# The programs, as far as their main packages are in the tree.
MAINS    := $(dir $(wildcard edge/cmd/*/main.go cloud/cmd/*/main.go provisioning/cmd/*/main.go))
PROGRAMS := $(addprefix bin/,$(notdir $(MAINS:/=)))

##@ Use

.PHONY: build
build: $(PROGRAMS) bin/influxd ## build all programs, InfluxDB too, into bin/

# The compiler's cache knows what is stale; a build of nothing new takes a
# second.
.PHONY: $(PROGRAMS) bin/wattline-run
$(PROGRAMS): | need-go
	@echo "building $@ ($(VERSION))"
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./$(filter %/$(@F)/,$(MAINS))

bin/influxd: scripts/influxd/go.mod scripts/influxd/go.sum | need-go
	@echo "building InfluxDB 1.8.10 from its module: about a minute the first time"
	@mkdir -p bin
	@cd scripts/influxd && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=1.8.10' \
	  -o ../../$@.new github.com/influxdata/influxdb/cmd/influxd
	@mv $@.new $@

.PHONY: influxd
influxd: bin/influxd ## build only InfluxDB

bin/wattline-run: | need-go
	@echo "building $@"
	@$(GO) build -o $@ ./scripts/run

.PHONY: run
run: build bin/wattline-run ## start cloud, gateways and simulated plugs; Ctrl-C ends all (WATTLINE_HTTP, _MQTT, _DATA, _FLOORS)
	@exec bin/wattline-run

##@ Check

.PHONY: test
test: tidy-check build deps-test lint ## everything that continuous integration runs
	@echo "testing with the race detector, in random order"
	@$(GO) test -race -shuffle=on -timeout 12m $(PKG)

.PHONY: race
race: build deps-test ## only the tests, with the race detector, in random order
	@$(GO) test -race -shuffle=on -timeout 20m $(PKG)

.PHONY: lint
lint: bin/golangci-lint ## configuration of the linters, their findings, formatting
	@echo "linting"
	@bin/golangci-lint config verify
	@bin/golangci-lint run ./...
	@bin/golangci-lint fmt --diff

.PHONY: fmt
fmt: bin/golangci-lint ## format all Go files
	@bin/golangci-lint fmt

.PHONY: tidy-check
tidy-check: | need-go ## go.mod and go.sum are tidy, the modules unchanged
	@echo "checking go.mod and go.sum"
	@$(GO) mod tidy -diff
	@$(GO) mod verify

.PHONY: cover
cover: build deps-test ## test coverage, in total and as .cache/cover.html
	@mkdir -p .cache
	@$(GO) test -timeout 20m -coverpkg=./edge/...,./cloud/...,./shared/... -coverprofile=.cache/cover.out $(PKG)
	@$(GO) tool cover -html=.cache/cover.out -o .cache/cover.html
	@$(GO) tool cover -func=.cache/cover.out | tail -1

.PHONY: fuzz
fuzz: | need-go ## every fuzz target for FUZZTIME (30s)
	@GO='$(GO)' scripts/tools/fuzz '$(FUZZTIME)' $(PKG)

.PHONY: deadcode
deadcode: bin/deadcode ## functions that nothing calls, tests included
	@found=$$(bin/deadcode -test ./...); if [ -n "$$found" ]; then echo "$$found"; exit 1; fi

##@ Prove

.PHONY: e2e
e2e: build deps-test ## the long fault runs: kills, cut cables, full disks (see scripts/e2e)
	@scripts/tools/prove e2e $(ARGS)

.PHONY: simulate
simulate: | need-go ## the protocol under millions of random schedules (see scripts/simulate)
	@scripts/tools/prove simulate $(ARGS)

.PHONY: bench
bench: build deps-test ## figures as ratios against peers and limits of the same run (see scripts/bench)
	@scripts/tools/prove bench $(ARGS)

.PHONY: interop
interop: build deps-test ## with software written by others: plug simulator and client, Mosquitto (see scripts/interop)
	@scripts/tools/prove interop $(ARGS)

##@ Tools

# Each tool is built once for its go.mod, in a module of its own.
bin/golangci-lint: TOOL = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
bin/deadcode:      TOOL = golang.org/x/tools/cmd/deadcode
bin/golangci-lint bin/deadcode: scripts/tools/go.mod scripts/tools/go.sum | need-go
	@echo "building $(@F) from its module: a minute or two the first time"
	@mkdir -p bin
	@cd scripts/tools && $(GO) build -o ../../$@.new $(TOOL)
	@mv $@.new $@

.PHONY: deps-test
deps-test: ## install what the tests need beside Go (Mosquitto, a C compiler)
	@scripts/tools/deps-test

.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { echo "Go is missing: install the version that go.mod names, https://go.dev/dl" >&2; exit 1; }

.PHONY: clean
clean: ## remove what was built; the data of make run (var/) stays
	rm -rf bin .cache

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
