# `make help` lists the targets. Needs nothing but Python 3.11 and make.

PYTHON ?= python3.11
DOMAIN ?= molecules
DATA ?= ../shared/data
BIN := .venv/bin
SOURCES := core/src/repcore plugins/*/src/* plugins/*/models/src/* scripts benchmarks
TESTS ?= tests
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
PEERS := .peers
# Benchmarks that need runs, paths or a GPU of their own are called by hand, as their first lines say: field_table, gpu,
# film_places, public_sets, registration, scenes_points; peers calls graphs_random, small_presets calls molecule_pieces, molecule_variants,
# small_decoded, small_domains and small_volumes.
TIMINGS := adam_v2_speed alice_speed allocator around_training audio_length audio_speed busy_machine embed_memory embed_molecules \
  embed_throughput explore_page exports graphs_speed list_startup matryoshka peers pointcloud_speed scenes_speed \
  search sherl_memory smiles_to_ids sparse_conv_speed step_overhead

.DEFAULT_GOAL := help
.PHONY: help env test lint demo proof bench bench-env models wheels release docs notebooks site clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 12

env:  ## the environment in .venv, made when missing or out of date
	@$(PYTHON) -c '' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' does not run; install Python 3.11 or name another: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) scripts/environment.py

lint: env  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(SOURCES)

test: lint  ## style, types and the full test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:cacheprovider -n $(WORKERS) --dist loadfile --durations=15 $(TESTS)

demo: env  ## train, embed, probe and report on a built-in data set: make demo DOMAIN=molecules
	$(BIN)/repcore demo $(DOMAIN)

bench: env  ## paired timings into benchmarks/results/; peers that are packages: make bench-env first
	@set -e; for script in $(TIMINGS); do echo "== $$script"; PYTHONPATH=$(PEERS) $(BIN)/python benchmarks/$$script.py; done

bench-env: env  ## packages that timings compare with and that nothing else needs, into $(PEERS)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(PEERS) mambapy==1.2.0 timm==1.0.20

proof: bench  ## timings, then learning runs over several seeds on real data, hours: make proof DATA=folder
	@test -d $(DATA) || { echo "make: no folder $(DATA) with real data; name it: make proof DATA=folder" >&2; exit 2; }
	$(BIN)/python benchmarks/fuzz.py
	$(BIN)/python benchmarks/random_kills.py
	$(BIN)/python benchmarks/processes.py
	$(BIN)/python benchmarks/row_index.py
	$(BIN)/python benchmarks/shared_preparation.py
	$(BIN)/python benchmarks/front_door_bounds.py
	$(BIN)/python benchmarks/answer_coverage.py --data $(DATA)
	$(BIN)/python benchmarks/audit.py
	$(BIN)/python benchmarks/generic_objectives.py
	$(BIN)/python benchmarks/small_presets.py --data $(DATA)
	$(BIN)/python benchmarks/few_labels.py --data $(DATA)
	$(BIN)/python benchmarks/bag_aggregators.py
	$(BIN)/python benchmarks/anomaly.py
	$(BIN)/python benchmarks/timeseries_learning.py --data $(DATA)/timeseries
	@if $(BIN)/python -c 'import ray' 2>/dev/null; then $(BIN)/python benchmarks/ray_cluster.py; else \
	  echo 'make: benchmarks/ray_cluster.py is left out: $(BIN)/pip install -c constraints.txt ray'; fi
	$(BIN)/python benchmarks/molecules_learning.py --corpus $(DATA)/molecules/corpus50k --sets $(DATA)/molecules --seeds 5
	$(BIN)/python benchmarks/graphs_learning.py --data $(DATA)/graphs --supervised-minutes 60
	$(BIN)/python benchmarks/audio_learning.py --data $(DATA)/audio
	$(BIN)/python benchmarks/audio_families.py --data $(DATA)/audio
	$(BIN)/python benchmarks/pointcloud_learning.py --data $(DATA)/pointcloud/quaternius_lowpoly \
	  --teachers classical none random point-m2ae --budgets 5 400
	$(BIN)/python benchmarks/scenes_learning.py --data $(DATA)/pointcloud_scenes --scenes street --steps 300 --budgets 75 150 600
	$(BIN)/python benchmarks/scenes_learning.py --data $(DATA)/pointcloud_scenes --scenes tabletop --steps 100
	$(BIN)/python benchmarks/adam_v2_learning.py --data $(DATA)
	$(BIN)/python benchmarks/alice_learning.py --data $(DATA)/medical3d --first-seed 1

models: env  ## train the models of DOMAIN that its distribution holds, minutes to hours: make models DOMAIN=.. DATA=folder
	$(BIN)/python scripts/box_models.py $(DOMAIN) --data $(DATA) $(if $(RUN),--run $(RUN))

wheels: env  ## wheels and source archives of core and every plugin into dist/, their contents checked
	$(BIN)/python scripts/build_wheels.py

release: env  ## build everything, install it from the wheels alone, and try each part outside the source tree
	$(BIN)/python scripts/release.py

docs: env  ## write the generated pages again: command line, hooks, checks, differences from the papers
	$(BIN)/python scripts/reference.py

notebooks: env  ## run docs/notebooks/*.py and write them as notebooks with what they gave
	$(BIN)/python scripts/notebooks.py

site: env  ## the documentation site in site/, searchable, without a network: open site/index.html
	$(BIN)/python scripts/site.py

clean:  ## remove what was built and cached (not .venv, not runs)
	rm -rf dist site $(PEERS) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find core plugins tests scripts benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
