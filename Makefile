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

# The gateway for the boxes it runs on: Raspberry Pi 1 and Zero, Pi 2 and later
# with 32 and with 64 bits, PCs.
EDGES := $(addprefix bin/edge/wattline-edge-,armv6 armv7 arm64 amd64)

.PHONY: edges $(EDGES)
edges: $(EDGES) ## build the gateway for every kind of box, into bin/edge/
$(EDGES): | need-go
	@echo "building $@ ($(VERSION))"
	@kind=$(@:bin/edge/wattline-edge-%=%); export CGO_ENABLED=0 GOOS=linux GOARCH=$$kind; \
	  case $$kind in armv*) export GOARCH=arm GOARM=$${kind#armv};; esac; \
	  $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./edge/cmd/wattline-edge

# Debian's armhf is ARMv7, that of Raspberry Pi OS ARMv6: the older runs on both.
.PHONY: deb
deb: bin/edge/wattline-edge-armv6 bin/edge/wattline-edge-arm64 bin/edge/wattline-edge-amd64 ## packages of the gateway for Debian, into bin/
	@export SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || date +%s)}; \
	  for pair in armv6:armhf arm64:arm64 amd64:amd64; do \
	    $(GO) run ./scripts/deb -version '$(VERSION)' -edge bin/edge/wattline-edge-$${pair%:*} -arch $${pair#*:}; \
	  done

# A root of Debian, so that a package can be installed without a machine.
.cache/debian-root:
	@command -v debootstrap >/dev/null && [ "$$(id -u)" = 0 ] || { echo "this takes root and the package debootstrap: apt-get install debootstrap" >&2; exit 1; }
	@mkdir -p .cache && rm -rf $@.new && debootstrap --variant=minbase --include=systemd bookworm $@.new >.cache/debian-root.log && \
	  DEBIAN_FRONTEND=noninteractive chroot $@.new apt-get install -y --no-install-recommends sudo cloud-init netplan.io >>.cache/debian-root.log 2>&1 || { tail .cache/debian-root.log; exit 1; }
	@mv $@.new $@

.PHONY: deb-test
deb-test: .cache/debian-root ## the package and the seed of an image in a root of Debian, with its dpkg and cloud-init (as root)
	@WATTLINE_DEBIAN_ROOT=$(CURDIR)/.cache/debian-root $(GO) test -count 1 -run 'Survive|CloudInit' ./scripts/deb ./provisioning/flash

.PHONY: run
run: build bin/wattline-run ## start cloud, gateways and simulated plugs; Ctrl-C ends all (WATTLINE_HTTP, _MQTT, _DATA, _FLOORS, _CLOUD)
	@exec bin/wattline-run

##@ Check

.PHONY: test
test: tidy-check build deps-test lint openapi-lint docs ## everything that continuous integration runs
	@echo "testing with the race detector, in random order"
	@$(GO) test -race -shuffle=on -timeout 12m $(PKG)
	@echo "playing a week of alerts with all plugs"
	@$(GO) test -run AWeek ./cloud/alerting

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

.PHONY: docs
docs: deps-test ## the pages of Read the Docs into .cache/docs/, warnings are errors
	@echo "building the documentation"
	@PATH=/usr/bin:$$PATH sphinx-build -W --keep-going -q -b html -d .cache/doctrees docs .cache/docs

# The linter is npm's, pinned in scripts/restlint; without npm there is no lint.
.PHONY: openapi-lint
openapi-lint: | need-go ## the OpenAPI document of the REST API, warnings are errors (with npm)
	@command -v npm >/dev/null || { echo "no npm, so the OpenAPI document is not linted"; exit 0; }; \
	  echo "linting the OpenAPI document"; mkdir -p .cache/restlint/document; cp scripts/restlint/*.json scripts/restlint/redocly.yaml .cache/restlint/; \
	  $(GO) run ./scripts/restlint >.cache/restlint/document/openapi.json; \
	  cd .cache/restlint; \
	  cmp -s package-lock.json installed || { npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; cp package-lock.json installed; }; \
	  REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true node node_modules/@redocly/cli/bin/cli.js lint --config redocly.yaml document/openapi.json

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
deps-test: ## install what the tests need beside Go (Mosquitto, an MQTT client for Python, a C compiler)
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
