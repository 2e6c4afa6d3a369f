# Portolan: `make up` runs it, `make test` tests it; both install what they lack, and say so.
SWIFT ?= swift
RELEASE = .build/release/portolan
SOURCES = Package.swift Sources Tests

.PHONY: up down build image test lint format bench soak dependencies clean

up: dependencies build
	$(RELEASE) up

down:
	$(RELEASE) down

dependencies:
	@scripts/install-dependencies run

# A static Swift runtime: pods and other machines need no toolchain.
build:
	$(SWIFT) build -c release --static-swift-stdlib --product portolan

# The image of packaging/portolan-agent.yaml.
CONTAINER_TOOL ?= $(shell command -v podman || command -v docker || echo podman)
image: build
	install -D $(RELEASE) .build/image/portolan
	$(CONTAINER_TOOL) build -t portolan:0.1.0 -f packaging/Containerfile .build/image

test:
	@scripts/install-dependencies run test
	scripts/run-tests

lint:
	$(SWIFT) format lint --strict --recursive $(SOURCES)
	scripts/tidy

format:
	$(SWIFT) format --in-place --recursive $(SOURCES)

bench:
	@scripts/install-dependencies run test
	scripts/run-benchmarks

soak:
	@scripts/install-dependencies run test
	PORTOLAN_SOAK=1 scripts/run-tests

clean:
	$(SWIFT) package clean
