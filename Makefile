# What people and CI call. `make` lists the targets.

# The tokenizer library is linked from .deps/, and Go's vector instructions are
# compiled in (an experiment of Go 1.26: several times faster on the go back end).
export GOEXPERIMENT := simd
export CGO_LDFLAGS := -L$(CURDIR)/.deps/lib $(CGO_LDFLAGS)

TOOL := go tool -modfile=tools.mod
MES := bin/mes

# The commit for the reports of `mes eval`, where the compiler notes none.
STAMP = $(shell git describe --always --abbrev=12 --dirty --exclude='*' 2>/dev/null)

# The shipped swarm, which the demo and its Space serve.
SWARM := weights/mes-mini
# What `make serve` serves.
MODEL ?= $(SWARM)
ADDR ?= 127.0.0.1:7860
# How long `make fuzz` spends on each target.
FUZZTIME ?= 20s
# What `make bench` compares with.
BASE ?= HEAD

.DEFAULT_GOAL := help
.PHONY: help setup build demo serve gen fmt lint check test unit race fuzz space judges bench bench-hub cover golden size clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## fetch or build what the build needs into .deps/
	@scripts/setup.sh

build: setup ## build bin/mes
	go build -ldflags "-X main.stamp=$(STAMP)" -o $(MES) ./cmd/mes

demo: build ## set up, build, and open the demo in the browser
	$(MES) serve -model $(SWARM) -addr 127.0.0.1:7860 -open

serve: build ## serve MODEL (a folder) on ADDR
	$(MES) serve -model $(MODEL) -addr $(ADDR)

gen: ## write the generated files anew: page components, configuration schema
	$(TOOL) templ generate -path web
	$(TOOL) templ generate -path hub
	go generate ./...

fmt: ## format the Go and templ files
	gofmt -w $$(scripts/files.sh go)
	$(TOOL) templ fmt $$(scripts/files.sh templ)

lint: ## check format, vet, staticcheck
	@scripts/format.sh
	go vet ./...
	$(TOOL) staticcheck ./...

check: setup lint ## the quick part of test: lint, unit tests on the go back end alone
	MES_TEST_BACKEND=go go test -vet=off -short ./...

test: ## everything that CI runs; the judges and the Space where CI=true
	@scripts/setup.sh --test
	@$(MAKE) --no-print-directory lint
	@scripts/fresh.sh
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory unit
	@if [ "$${CI:-}" = true ]; then $(MAKE) --no-print-directory judges space; fi

unit: ## tests on the go back end and xla:cpu, the browser test, the fuzz seeds
	go test -vet=off -timeout 20m ./...

race: ## race tests of the concurrent packages, on the go back end
	MES_TEST_BACKEND=go go test -vet=off -short -race -gcflags=all=-d=checkptr=0 -timeout 20m ./web/... ./model/engine/... ./model/data/... ./model/ckpt/... ./model/telemetry/... ./model/queue/...

fuzz: ## fuzz each parser for FUZZTIME
	@scripts/fuzz.sh $(FUZZTIME)

space: build ## build, start and test the demo's Space as its Dockerfile does, without Docker
	@SPACE_CHECK=scripts/space_browser.sh scripts/space.sh $(SWARM)

judges: build ## real clients (Python, npm, git) against the hub; needs the package registries the first time
	@scripts/setup.sh --judges
	@scripts/judges/run.sh

bench-hub: build ## mes and hf against a hub of one's own: seconds and memory; needs the package registry the first time
	@scripts/bench_hub.sh

bench: build ## Go benchmarks of the working tree against BASE (a commit)
	@scripts/bench.sh $(BASE)

cover: ## test coverage by package
	go test -vet=off -short -timeout 20m -coverprofile=.deps/cover.out ./...
	go tool cover -func=.deps/cover.out | tail -n 1

golden: ## write the golden files of the tests anew; look at the diff
	@scripts/golden.sh

size: ## lines of code and of tests by package
	@scripts/size.sh

clean: ## remove what was built; .deps/ with its downloads stays
	rm -rf bin .deps/cover.out
