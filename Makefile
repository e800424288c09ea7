# `make run` for a first look, `make test` before a commit; see CONTRIBUTING.md.
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.PHONY: help run build debug test slow lint types bench micro baseline instructions fuzz clean distclean

PYTHON ?= python3
V := .venv/bin
DEMO := var/demo
NATIVE := $(shell find ext -type f \( -name '*.pyx' -o -name '*.px[di]' -o -name '*.h' \) 2>/dev/null)

# In place, beside what `setup.py build_ext --inplace` compiled; and without a warning
# that every editable install brings.
INSTALL := FASTSMTP_BUILD=none PYTHONWARNINGS=ignore $(V)/python -m pip install -q \
    --disable-pip-version-check --no-build-isolation --editable

help:
	@echo "make run     build, write a demo under $(DEMO), serve on 127.0.0.1:2525"
	@echo "make test    every test but the slow set        make slow   the slow set"
	@echo "make lint    ruff check and format --check      make types  mypy --strict"
	@echo "make build   the compiled modules, in place     make debug  with bounds checks"
	@echo "make bench   load, verdict, var/bench/report.html      (docs/bench.md)"
	@echo "make micro   beside the saved baseline          make instructions  counted"
	@echo "make fuzz    fuzz the parsers"
	@echo "make clean   remove what was built              make distclean  and .venv"

run: $(DEMO)/fastsmtp.toml
	@echo
	@echo "Send the first mail, from another terminal in this folder:"
	@echo '    python3 -c '"'"'import smtplib; smtplib.SMTP("127.0.0.1", 2525).sendmail("you@example.org", "alice@example.test", "Subject: hello\n\nThe first mail.\n")'"'"
	@echo "Read it:"
	@echo "    $(V)/fastsmtp mail list -c $(DEMO)/fastsmtp.toml alice@example.test"
	@echo "    $(V)/fastsmtp mail show -c $(DEMO)/fastsmtp.toml alice@example.test 1"
	@echo "It offers STARTTLS with a certificate of its own ($(DEMO)/tls.crt):"
	@echo "    openssl s_client -starttls smtp -quiet -connect 127.0.0.1:2525"
	@echo "Users log in and submit on 127.0.0.1:2587 (docs/submission.md):"
	@echo "    swaks --server 127.0.0.1:2587 --tls --auth PLAIN --auth-user alice@example.test --from alice@example.test --to bob@example.test"
	@echo "And fetch their mail by POP3 with TLS on 127.0.0.1:2995, STLS on 2110 (docs/pop3.md):"
	@echo "    curl -k --user alice@example.test pop3s://127.0.0.1:2995/"
	@echo "How deep is the queue? http://127.0.0.1:9925/status in a browser, or in a terminal:"
	@echo "    $(V)/fastsmtp top -c $(DEMO)/fastsmtp.toml"
	@echo "Prometheus reads http://127.0.0.1:9925/metrics (docs/watch.md). Stop: Ctrl-C."
	@echo
	@exec $(V)/fastsmtp serve -c $(DEMO)/fastsmtp.toml

$(DEMO)/fastsmtp.toml: | .venv/.native
	$(V)/fastsmtp quickstart $(DEMO) --domain example.test --hostname mx.example.test \
	    --account alice --account bob

build: .venv/.native

debug: .venv/.tools
	rm -f .venv/.native
	FASTSMTP_BUILD=debug $(V)/python setup.py -q build_ext --inplace --force

# pytest exits with 5 when a selection holds no test; that is no failure here.
test: .venv/.native .venv/.dev
	$(V)/python -m pytest -m "not slow" tests || [ $$? -eq 5 ]

slow: .venv/.native .venv/.dev
	$(V)/python -m pytest -m slow tests || [ $$? -eq 5 ]

lint: .venv/.dev
	$(V)/ruff check .
	$(V)/ruff format --check .

types: .venv/.native .venv/.dev
	$(V)/mypy fastsmtp

bench: .venv/.native
	@mkdir -p var/bench
	$(V)/fastsmtp-bench run --verify --directory var/bench --output var/bench/report

MICRO := $(V)/python -m pytest --benchmark-enable --benchmark-only \
    --benchmark-storage=bench/baseline bench/micro_*.py

micro: .venv/.native .venv/.dev
	$(MICRO) --benchmark-compare=0001 --benchmark-columns=min,median,rounds \
	    --benchmark-group-by=fullname --benchmark-sort=name

# What is true of this machine and tree from now on: both are in the repository.
baseline: .venv/.native .venv/.dev
	rm -rf bench/baseline
	$(MICRO) --benchmark-save=baseline
	$(V)/fastsmtp-bench instructions --write

instructions: .venv/.native
	$(V)/fastsmtp-bench instructions

fuzz: .venv/.native .venv/.dev
	$(V)/python -m tests.fuzz

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .venv/.native
	find fastsmtp -name '*.so' -delete
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean
	rm -rf .venv

# .venv/.tools: an environment that can compile. .venv/.native: the program, installed
# in place and compiled. .venv/.dev: what tests, lint and types need besides.
.venv/.tools:
	@.ci/prepare $(PYTHON)
	$(PYTHON) -m venv .venv
	$(V)/python -m pip install -q --disable-pip-version-check --upgrade \
	    pip 'setuptools>=77' 'Cython~=3.3.1'
	@touch $@

.venv/.native: .venv/.tools setup.py pyproject.toml $(NATIVE)
	$(V)/python setup.py -q build_ext --inplace -j2
	$(INSTALL) .
	@touch $@

.venv/.dev: .venv/.native pyproject.toml
	$(INSTALL) '.[dev]'
	@touch $@
