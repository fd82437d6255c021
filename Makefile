# make demo and make test need nothing but Node (20.19 or later) and, on Debian, the right to apt-get install.
# ARGS is handed on: make demo ARGS="--seconds 10", make bench ARGS="loop --json"

.PHONY: help demo test setup lint format bench clean setup-kernel build-dev-kernel build-dev-initramfs run-dev-machine \
	build-and-run build-uml-kernel

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 28

demo: setup ## install what is needed, build, and see it run: two cards, a wire, real traffic
	@node dist/scripts/fauxnic.js demo $(ARGS)

test: setup ## install what is needed, build, and run every lane that this machine can; or ARGS="sim native"
	@node dist/scripts/test.js $(ARGS)

setup: ## install what is needed and build; quick when there is nothing to do
	@command -v node >/dev/null || { echo "fauxnic: no node found: install Node 20.19 or later (https://nodejs.org)" >&2; exit 1; }
	@node scripts/setup.mjs

lint: setup ## format and lint, without changing anything
	@npm run --silent lint

format: setup ## put right what can be put right by itself
	@npm run --silent format

bench: setup ## measure, each figure against its yardstick
	@node dist/test/bench/index.js $(ARGS)

# Two cards of ours, wired together, in a guest: make build-and-run, echo 'ip link' | make build-and-run
DEV_MACHINE = node dist/scripts/fauxnic.js vm --kernel dev --nic sim:e1000 --nic sim:e1000

setup-kernel: setup
	@node scripts/setup.mjs kernel

build-dev-kernel: setup-kernel ## build the guests' kernel of our own, where it is not up to date (5 min the first time)
	@node dist/scripts/build/kernel.js $(ARGS)

build-uml-kernel: setup-kernel ## build Linux as a process, for its drivers in virtual time (docs/uml.md; 5 min)
	@node dist/scripts/build/uml-kernel.js $(ARGS)

build-dev-initramfs: setup ## build the guests' file system for it
	@node dist/scripts/build/initramfs.js $(ARGS)

run-dev-machine: setup ## boot it with two cards of ours wired together, to a shell
	@$(DEV_MACHINE) $(ARGS)

build-and-run: build-dev-kernel build-dev-initramfs ## all three
	@$(DEV_MACHINE) $(ARGS)

clean: ## remove what was built and installed in this folder
	rm -rf dist native/build node_modules .coverage .tap
