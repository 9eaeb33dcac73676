# Two commands matter: `make demo` shows a night's run, `make test` passes the tests. Both set up what they need.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
S3_BIN := .venv-s3/bin
MINUTES ?= 60
STORES ?= directory,ministack,ceph
AUDIT_BIN := .venv-audit/bin

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.venv/ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	touch $@

.venv-s3/ready: requirements/s3-server.txt ## (the S3 server of the tests pins another botocore, so it lives apart)
	$(PYTHON) -m venv .venv-s3
	$(S3_BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/s3-server.txt
	touch $@

.venv-audit/ready: requirements/audit.txt ## (what looks at the dependencies is none of them)
	$(PYTHON) -m venv .venv-audit
	$(AUDIT_BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/audit.txt
	touch $@

setup: .venv/ready .venv-s3/ready ## install the locked dependencies

demo: .venv/ready ## run a night's job on the sample deals, against the emulator
	$(BIN)/python -m examples.demo

test: setup ## run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

conformance: setup ## which provider keeps which part of the contract, by the outcomes of this run
	$(BIN)/python -m tests.conformance

nights: setup ## a bad night on all 2,000 real deals, every provider, directory and S3
	NIGHTS_DEALS=2000 $(BIN)/python -m pytest -q -s -p no:randomly tests/core/test_real_deals.py

chaos: setup ## everything that can break, for MINUTES=60, on STORES=directory,ministack,ceph; counted in docs/campaigns.jsonl
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) --stores $(STORES)

# Each rival of the race lives apart; what does not install here does not race.
.venv-rivals/%/tried: requirements/rival-%.txt
	rm -rf $(@D)
	{ $(RIVAL_PYTHON) -m venv $(@D) \
	  && $(@D)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<; } \
	  || { echo "$* does not install here and is left out"; rm -rf $(@D); mkdir -p $(@D); }
	touch $@

.venv-rivals/batchjobs/tried: requirements/run.txt ## (ours with what is installed to run, and no more)
	$(PYTHON) -m venv .venv-rivals/batchjobs
	.venv-rivals/batchjobs/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	touch $@

RIVALS := $(patsubst requirements/rival-%.txt,.venv-rivals/%/tried,$(wildcard requirements/rival-*.txt))
RIVAL_PYTHON = $(PYTHON)
.venv-rivals/llm-batch-inference/tried: RIVAL_PYTHON = $(firstword $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python) python3.13)

coverage: setup ## branch coverage by what runs in the tests' own process: the protocol's files first
	$(BIN)/python -m coverage run -m pytest -q tests/core tests/storage tests/simulation
	$(BIN)/python -m coverage report --precision=1 --include='batchjobs/*,storage/ledger.py'

.venv-mutants/ready: requirements/mutants.txt ## (what spoils the code is no part of it)
	$(PYTHON) -m venv .venv-mutants
	.venv-mutants/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/mutants.txt
	touch $@

mutants: setup .venv-mutants/ready ## mutation score: would a test notice a mistake in the files that spend money? A sample of 60
	$(BIN)/python -m tests.mutants --count 60 --seed 1

bench: .venv/ready .venv-rivals/batchjobs/tried $(RIVALS) ## the race: a floor, ours and the rivals over the same input, every step, in one table
	$(BIN)/python -m benchmarks.race
	$(BIN)/python -m benchmarks.tables

bench-shards: setup ## a job of 1,000 shards: what polling, `status` on a directory and on S3, and old jobs cost
	$(BIN)/python -m benchmarks.shards
	$(BIN)/python -m benchmarks.tables

bench-overlap: setup ## a night over a slow line to the provider and an S3 store: in one order, and one step ahead
	$(BIN)/python -m benchmarks.overlap
	$(BIN)/python -m benchmarks.tables

bench-memory: .venv/ready .venv-rivals/batchjobs/tried $(RIVALS) ## memory of all processes over 10,000 to 1,000,000 items, ours and a rival's, and the plot
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.tables

bench-million: .venv/ready .venv-rivals/batchjobs/tried $(RIVALS) ## the race over a million short requests, once
	$(BIN)/python -m benchmarks.race --requests 1000000 --runs 1
	$(BIN)/python -m benchmarks.tables

lint: .venv/ready ## style, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

audit: .venv-audit/ready ## ask for known vulnerabilities of what is installed to run; fails when it cannot ask
	$(AUDIT_BIN)/pip-audit --strict --disable-pip --require-hashes --requirement requirements/run.txt

sbom: .venv-audit/ready ## write what is installed to run as a CycloneDX list, sbom.json
	$(AUDIT_BIN)/cyclonedx-py requirements --output-reproducible --of JSON -o sbom.json requirements/run.txt

lock: ## resolve the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --extra all -o requirements/run.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url pyproject.toml --extra all --extra dev -c requirements/run.txt -o requirements/dev.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/s3-server.in -o requirements/s3-server.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/audit.in -o requirements/audit.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/mutants.in -o requirements/mutants.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/rival-llm-batch-py.in -o requirements/rival-llm-batch-py.txt
	uv pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/rival-llm-batch-inference.in -o requirements/rival-llm-batch-inference.txt

.PHONY: help setup coverage mutants demo test conformance nights chaos bench bench-shards bench-overlap bench-memory bench-million lint lock audit sbom
