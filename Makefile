# The targets: make help

SHELL := /bin/sh
# By -m, not by the scripts in .venv/bin: their first line cannot hold every path.
PYTHON := .venv/bin/python
DEMO := .venv/.demo-installed
DEV := .venv/.dev-installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-night servers check docs simulate torture stream failover year fuzz faulty-day workload soak zoo mutate wheel deb boot bench bench-growth lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(DEMO)  ## See it work on this machine, in a minute (FOR=5m works longer, KEEP=1 leaves it running)
	@$(PYTHON) -m testbed.demo $(if $(FOR),--for $(FOR)) $(if $(CLIENTS),--clients $(CLIENTS)) $(if $(KEEP),--keep)

test: $(DEV)  ## Run the tests (ARGS="tests/unit" runs a part of them)
	$(PYTHON) -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not long" $(ARGS)

test-long: $(DEV)  ## Run the tests that take minutes
	$(PYTHON) -m pytest -n 2 --dist worksteal -m "long and not night" --timeout 900 $(ARGS)

test-night: $(DEV)  ## Run what takes hours: a long torture, simulation and workload, 200 mutants, every Python that is found
	.ci/night

servers: $(DEV)  ## Make MySQL 9 and another MariaDB for the long tests, out of Debian (as root; needs debootstrap)
	$(PYTHON) -m testbed.database.release

fuzz: $(DEV)  ## Garble Kiva's answers, photos and rows by the ten thousand, and see what comes of them (NUMBER=100000 DAEMON=500 SEED=17)
	$(PYTHON) -m testbed.fuzz.answers --number $(or $(NUMBER),10000) $(if $(SEED),--seed $(SEED))
	$(PYTHON) -m testbed.fuzz.relay --number $(or $(ROUNDS),200) $(if $(SEED),--seed $(SEED))
	$(PYTHON) -m testbed.fuzz.daemon --number $(or $(DAEMON),50) $(if $(SEED),--seed $(SEED))
	$(PYTHON) -m testbed.fuzz.photos --number $(or $(NUMBER),10000) $(if $(SEED),--seed $(SEED))
	$(PYTHON) -m testbed.fuzz.rows --number $(or $(NUMBER),10000) $(if $(SEED),--seed $(SEED))

faulty-day: $(DEV)  ## Measure what goes through while 1, 3, 10 and 30 % of the calls to Kiva fail (FOR=60s RATE=0.03)
	$(PYTHON) -m testbed.workload.faulty_day $(if $(FOR),--for $(FOR)) $(if $(RATE),--rate $(RATE))

check: $(DEV)  ## Look at the style, the types and the direction of imports
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as main; main()'

docs: $(DEV)  ## Write the parts of the documentation that are made from the code
	$(PYTHON) docs/render.py

simulate: $(DEV)  ## Live through thousands of simulated histories (SEED=17 tells one of them, SEEDS=9000 tries more)
	$(PYTHON) -m testbed.simulation.run $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),3000))

torture: $(DEV)  ## Kill the relay 310 times while the network fails, and judge (15 min; ARGS="--kills 40" is shorter)
	$(PYTHON) -m testbed.torture.run $(ARGS)

stream: $(DEV)  ## Follow a MIS by its stream to Kiva while all happens to it that may, and judge (FOR=5m SEED=17)
	$(PYTHON) -m testbed.torture.stream $(if $(FOR),--for $(FOR)) $(if $(SEED),--seed $(SEED)) $(ARGS)

failover: $(DEV)  ## Fail the outbox's PostgreSQL over 20 times while two relays work, and judge (TIMES=4 SEED=17)
	$(PYTHON) -m testbed.torture.failover $(if $(TIMES),--times $(TIMES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

year: $(DEV)  ## Play a year of reports on PostgreSQL and MariaDB, and judge each month (FOR=3 months, LOANS=200 SEED=7; ARGS=--troubled loses calls and kills)
	$(PYTHON) -m testbed.year $(if $(FOR),--months $(FOR)) $(if $(LOANS),--loans $(LOANS)) $(if $(SEED),--seed $(SEED)) $(ARGS)

workload: $(DEV)  ## Let an MFI work on each database while relays watch it, and judge what they saw (FOR=10m RATE=50)
	$(PYTHON) -m testbed.workload.run $(if $(FOR),--for $(FOR)) $(if $(RATE),--rate $(RATE)) $(ARGS)

soak: $(DEV)  ## Let a relay live through a day in a few minutes, and see whether memory, descriptors, WAL or log grow (FOR=10m RATE=5)
	$(PYTHON) -m testbed.soak.run $(if $(FOR),--for $(FOR)) $(if $(RATE),--rate $(RATE)) $(ARGS)

zoo: $(DEV)  ## Map and change every type and kind of table of each database, and see which changes are noticed
	$(PYTHON) -m testbed.zoo

mutate: $(DEV)  ## Change 200 places of capture, outbox and delivery, and see which no test notices (ARGS="--only store.py")
	$(PYTHON) -m testbed.mutation $(ARGS)

wheel:  ## Build the package that is installed as a service, into dist/
	requirements/wheel.sh dist

deb:  ## Build the Debian packages, each in a root of its release, into dist/ (as root; needs debootstrap. SUITES=bookworm)
	packaging/deb/make.sh $(SUITES)

boot: $(DEV)  ## Boot a Debian with the package in it, and try all that an administrator does to it (as root; SUITE=bookworm)
	$(PYTHON) -m testbed.boot $(SUITE)

bench: $(DEV)  ## Compare with what one would use instead, then measure the rest (ARGS="--only drafts", "--short" or "--help" for a part)
	$(PYTHON) -m benchmarks --json dist/benchmarks.json $(or $(ARGS),--pages docs)
	@set -e; for script in $(if $(ARGS),,capture guest mapping month read_in shown); do \
		echo "== $$script"; $(PYTHON) benchmarks/$$script.py; \
	done

bench-growth: $(DEV)  ## Measure what a step costs after a thousand entries and after a million (LOANS=125000)
	@$(PYTHON) benchmarks/growth.py $(LOANS)
	@$(PYTHON) benchmarks/end_to_end.py $(if $(LOANS),--loans 125 $(LOANS))

lock:  ## Write the lock files again from pyproject.toml (needs uv)
	requirements/lock.sh

clean:  ## Remove .venv and everything else that was made here
	rm -rf .venv dist .bytecode .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed follows the lock files; a second time nothing is done.
$(DEMO): requirements/demo.lock pyproject.toml requirements/install.sh
	@requirements/install.sh requirements/demo.lock $@

$(DEV): requirements/dev.lock pyproject.toml requirements/install.sh
	@requirements/install.sh requirements/dev.lock $@
	@touch $(DEMO)
