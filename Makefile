# `make demo` and `make test` set everything up themselves; see scripts/setup.sh for what that is.
.PHONY: demo test check docs fuzz install libraries clean

BIN := .venv/bin

demo: install libraries ## models → views → manifest → tokens → a model that draws, into ./demo
	$(BIN)/dataengine demo --out demo

test: install libraries ## all tests; `make test ARGS="-k cameras"` for some
	$(BIN)/python -m pytest -q --durations=15 $(ARGS)

check: install ## style, types, and which package may import which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install ## the documentation as a site, in build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

fuzz: install libraries ## damaged files for every reader; `make fuzz SECONDS=600 ARGS="glb render"` for more, or some
	$(BIN)/python -m fuzz --seconds $(or $(SECONDS),120) $(ARGS)

install: ## .venv and nothing else
	@scripts/setup.sh install

libraries: ## the system libraries that Blender needs, through apt when root
	@scripts/setup.sh libraries

clean: ## what runs left behind; .venv stays
	rm -rf demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
