# optml: build, try and test. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

GO      ?= go
# The GPU helper alone needs a C compiler; without one it is left out.
CC      := $(or $(shell $(GO) env CC),gcc)
# NVIDIA's binding names what the library keeps for old programs.
export CGO_CFLAGS := $(shell $(GO) env CGO_CFLAGS) -Wno-deprecated-declarations
BUILD   := build
VERSION := $(shell cat VERSION)
COMMIT  := $(shell git rev-parse --short=12 HEAD 2>/dev/null)$(shell git diff --quiet HEAD 2>/dev/null || echo -dirty)
DATE    := $(shell git log -1 --format=%cI 2>/dev/null)
INFO    := github.com/prometheus/common/version
LDFLAGS := -s -w -X $(INFO).Version=$(VERSION) -X $(INFO).Revision=$(COMMIT) -X $(INFO).Branch=$(shell git rev-parse --abbrev-ref HEAD 2>/dev/null) -X $(INFO).BuildDate=$(DATE)

# Where the programs of small roles lie that optml carries; see the README there.
EMBED   := cmd/optml/embedded

# Where demo keeps its jobs and images, apart from a real installation's /var/lib/optml.
DEMO    ?= $(CURDIR)/$(BUILD)/demo

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what build, demo and test need (Debian packages, as root)
	@hack/setup

.PHONY: build
build: ## build/optml, one binary, with the programs of its small roles in it
	@mkdir -p $(BUILD) && for role in shim logger; do \
	  CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o $(BUILD)/optml-$$role ./cmd/optml-$$role || exit 1; \
	  to=$(EMBED)/$$role-$$(sha256sum <$(BUILD)/optml-$$role | cut -c1-16); \
	  cmp -s $(BUILD)/optml-$$role $$to || cp $(BUILD)/optml-$$role $$to || exit 1; \
	  for old in $(EMBED)/$$role-*; do [ $$old = $$to ] || rm -f $$old; done; \
	done
	@if [ "$$($(GO) env GOARCH)" = "$$($(GO) env GOHOSTARCH)" ] && echo '#include <dlfcn.h>' | $(CC) -E - >/dev/null 2>&1; then \
	  CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -ldflags '-s -w' -o $(BUILD)/optml-gpu ./cmd/optml-gpu || exit 1; \
	  to=$(EMBED)/gpu-$$(sha256sum <$(BUILD)/optml-gpu | cut -c1-16); \
	  cmp -s $(BUILD)/optml-gpu $$to || cp $(BUILD)/optml-gpu $$to || exit 1; \
	else to=; echo 'build: no C compiler ($(CC), with the headers of libc) for this architecture: this optml will see no GPUs'; fi; \
	for old in $(EMBED)/gpu-*; do [ "$$old" = "$$to" ] || rm -f "$$old"; done
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BUILD)/optml ./cmd/optml

.PHONY: image
image: ## the scikit-learn image of the example, cached by content
	@hack/mkimage-sklearn -o $(BUILD)/sklearn.oci.tar

.PHONY: demo
demo: setup build image ## validate examples/iris for real, from nothing
	@hack/demo $(BUILD)/optml $(BUILD)/sklearn.oci.tar $(DEMO)

# Everything is compiled twice, not more: with -race for vet and the unit tests, as the binary is for the binary and the
# tests of containers. So vet is with -race and on all tests, and go test, which would look once more, does not.
.PHONY: vet
vet: ## vet all, tests of containers included
	nice -n 19 $(GO) vet -race -tags e2e ./...

# A program with the race detector sleeps for a second before it exits; the scripts start hundreds.
.PHONY: unit
unit: vet ## unit tests with the race detector: no root, no daemon
	GORACE=atexit_sleep_ms=20 $(GO) test -race -vet=off -timeout 10m ./...

# One after the other, since each holds that the host is afterwards as it was; -p 1 would compile on one core, too.
E2E_TEST := OPTML_BINARY=$(CURDIR)/$(BUILD)/optml CGO_ENABLED=0 $(GO) test -trimpath -vet=off -tags e2e
E2E_PKGS := ./runtime/ctrd ./runtime/volume ./test/e2e ./test/script/e2e

.PHONY: e2e
e2e: vet e2e-run ## real containers, the tier that every change must pass (root)

.PHONY: e2e-run
e2e-run: build
	$(E2E_TEST) -run '^(TestBotocoreAgrees|TestClientsCannotTell|TestPatternsAgree)$$' ./job
	@for p in $(E2E_PKGS); do $(E2E_TEST) -timeout 14m $$p || exit 1; done

# The tests of containers wait half of their time: vet, which compiles what the unit tests need, has the other half.
.PHONY: test
test: setup build ## all that every change must pass, under 15 minutes on 2 cores
	@$(MAKE) --no-print-directory -j 2 e2e-run vet
	@$(MAKE) --no-print-directory unit

.PHONY: gpu-test
gpu-test: build ## on a machine with a GPU: a container that uses one (root); elsewhere it is skipped, and says why
	OPTML_GPU_TEST=1 OPTML_BINARY=$(CURDIR)/$(BUILD)/optml $(GO) test -tags e2e -count 1 -timeout 10m -v -run '^TestRealGPU$$' ./test/e2e

.PHONY: unit-full
unit-full: ## unit tests as users' builds are, without the race detector: bounds of memory, ten times the random cases
	OPTML_FULL=1 CGO_ENABLED=0 $(GO) test -trimpath -vet=off -timeout 20m ./...

.PHONY: e2e-full
e2e-full: setup build image unit-full ## everything: crashes at every step, all of the channels, a given containerd, big logs
	OPTML_BINARY=$(CURDIR)/$(BUILD)/optml OPTML_SKLEARN=$(CURDIR)/$(BUILD)/sklearn.oci.tar OPTML_FULL=1 $(GO) test -tags e2e -timeout 120m -p 1 -v ./runtime/ctrd/... ./runtime/volume ./test/e2e/... ./test/script/...

.PHONY: bench
bench: setup build ## ours and its peer in turn, with the ratio (docs/performance.md)
	@hack/bench $(BUILD)/optml

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (default 30s)
	@hack/fuzz $${FUZZTIME:-30s}

.PHONY: check
check: ## format, vet, modernize, lint (golangci-lint when installed)
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt: the files above"; exit 1; }
	$(GO) vet ./... && $(GO) vet -tags e2e ./...
	@test -z "$$($(GO) fix -diff ./... 2>/dev/null)" || { $(GO) fix -diff ./...; exit 1; }
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo "golangci-lint is not installed: skipped"; fi

.PHONY: clean
clean: ## remove build/
	rm -rf $(BUILD) $(EMBED)/shim-* $(EMBED)/logger-* $(EMBED)/gpu-*
