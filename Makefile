# roomd. `make help` says what there is.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# What `make run` passes on: make run ARGS='--listen [::]:8000'
ARGS ?=

FUZZ_SECONDS ?= 900
FUZZ_TARGETS ?= head session hub outbox

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help run build test model fuzz test-needs screenshots bench bench-peers bench-10k lint fmt doc install uninstall clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## serve the room on http://localhost:8000/ (ARGS='--listen [::]:8000' for the network)
	$(CARGO) run --release --locked -- $(ARGS)

build: ## build target/release/roomd
	$(CARGO) build --release --locked

test: test-needs ## run every test, in the browser too; installs what that needs
	$(CARGO) test --locked
	$(MAKE) model

model: ## try the orders in which hub, session and drain thread can meet (shuttle)
	RUSTFLAGS='--cfg shuttle' $(CARGO) test --locked --lib drain::model

fuzz: ## fuzz each target for FUZZ_SECONDS (900), or only FUZZ_TARGETS; needs nightly Rust
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target && \
		rustup run nightly cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=10000 -timeout=10 -print_final_stats=1 || exit 1; \
	done

# The browser of the page's tests, and network namespaces for those of vanishing clients.
test-needs:
	@missing=; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	PATH="$$PATH:/usr/sbin:/sbin" command -v ip >/dev/null || missing="$$missing iproute2"; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		$(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

screenshots: test-needs ## take the pictures of the page anew, in docs/screenshots
	@fc-list :lang=zh-tw 2>/dev/null | grep -q . || $(SUDO) apt-get install -y -qq --no-install-recommends fontconfig fonts-noto-cjk >/dev/null
	SCREENSHOTS='$(CURDIR)/docs/screenshots' $(CARGO) test --locked --test page pictures

bench: ## measure beside plain sends (ARGS='--only flood --quick'; --help says more)
	$(CARGO) bench --locked --bench room -- $(ARGS)

bench-peers: ## measure FastAPI and node's ws too; installs them under target/
	$(CARGO) bench --locked --bench room -- --peers $(ARGS)

bench-10k: ## measure 10,000 clients in one room
	$(CARGO) bench --locked --bench room -- --only crowd --quick $(ARGS)

lint: ## check format, clippy and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

fmt: ## format the code
	$(CARGO) fmt --all

doc: ## build the documentation of the code
	$(CARGO) doc --locked --no-deps --document-private-items

install: build ## install into $(DESTDIR)$(PREFIX)/bin
	install -Dm755 target/release/roomd $(DESTDIR)$(PREFIX)/bin/roomd

uninstall: ## remove what install put there
	rm -f $(DESTDIR)$(PREFIX)/bin/roomd

clean: ## remove what was built
	$(CARGO) clean
