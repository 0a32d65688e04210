# catena: `make demo` shows it, `make test` proves it; both install what they need on a fresh Debian 12 as root.

PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: build demo test bench lint fuzz man install uninstall clean help

build: ## the eight static binaries, as they are released
	@scripts/setup.sh build
	@scripts/build.sh

demo: ## install what is needed, build, and watch a pipeline become a container
	@scripts/setup.sh demo
	@scripts/build.sh
	@scripts/demo.sh

test: ## install what is needed and run every test in every lane this machine has
	@scripts/setup.sh test
	@scripts/test.sh

bench: ## side by side with crun, runc, bwrap and the floor; writes docs/benchmarks.md
	@scripts/setup.sh bench
	@scripts/build.sh
	@bench/run.sh

lint: ## rustfmt, clippy, where unsafe may be, shellcheck
	@scripts/setup.sh lint
	@scripts/lint.sh

fuzz: ## odd configs, plans, filters and answers, a minute for each target
	@scripts/setup.sh test
	@scripts/fuzz.sh 60

man: build ## a page for each tool, from its own --help, in target/man
	@scripts/man.sh target/man

install: build man ## into $(DESTDIR)$(PREFIX)
	@scripts/install.sh '$(DESTDIR)$(PREFIX)'

uninstall: ## what install put there
	@scripts/install.sh --remove '$(DESTDIR)$(PREFIX)'

clean: ## everything that was built
	rm -rf target .demo

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12
