# make demo, make test, make test-slow and make lint prepare .venv by themselves.

VENV := .venv
DEMO_OUTPUT := demo_output
# The first of these that runs and is new enough.
PYTHON ?= $(shell for p in python3.11 python3; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& echo $$p && break; done)

# Empty files that say which install has been completed. They go first and come last, so a killed
# install leaves none, and the next one starts with an empty folder.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
DEV_EXTRAS := .[dev,train]

.PHONY: demo test test-slow lint clean

demo: $(RUNTIME)
	$(VENV)/bin/d2seg demo --output $(DEMO_OUTPUT)
	@echo "The demo's results are in $(DEMO_OUTPUT)/; open $(DEMO_OUTPUT)/index.html in a browser."

test: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 -m "not slow"

test-slow: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 -m slow

lint: $(DEV)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy d2seg tools
	$(VENV)/bin/lint-imports --no-logo

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) tools/cpp/detect build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find d2seg tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

define install
	@test -n "$(PYTHON)" || { echo "d2seg needs Python 3.10 or newer with its venv module; none" \
		"was found as python3.11 or python3. Install one, or run: make PYTHON=/path/to/python3" \
		"$(MAKECMDGOALS)" >&2; exit 1; }
	@test -e $(RUNTIME) || { echo "Installing d2seg into $(VENV)/. PyTorch and its libraries take" \
		"about 5 GB on disk and a few minutes to download; this happens once."; \
		$(PYTHON) -m venv --clear $(VENV); }
	@rm -f $(RUNTIME) $(DEV)
	$(VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt -e '$(1)'
endef

$(RUNTIME): setup.py constraints.txt
	$(call install,.)
	@touch $(RUNTIME)

$(DEV): setup.py constraints.txt
	$(call install,$(DEV_EXTRAS))
	@touch $(RUNTIME) $(DEV)
