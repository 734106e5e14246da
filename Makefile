# Building and installing without cargo's own ways. What a package needs follows from the program itself (packaging/).
#
#   make                      the program, man pages, completions
#   make install              into the system; DESTDIR=/some/root puts it there instead
#   make uninstall
#   make deb                  target/debian/expgsql_*.deb
#   make rpm                  target/rpm/*.rpm (needs rpmbuild)
#   make portable             target/portable/expgsql, which runs with glibc 2.28 and newer: RHEL 8, Debian 10 (needs python3's venv);
#                             PROGRAM=target/portable/expgsql behind any of the above has it installed, or packaged
#   make deny                 licences and sources of the crates, by deny.toml; make advisories: what is known against them (needs github.com)

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo

# Where Pacemaker looks for agents, on every distribution.
OCF := /usr/lib/ocf/resource.d/heartbeat
SBIN := $(PREFIX)/sbin
MAN := $(PREFIX)/share/man
DATA := $(PREFIX)/share/expgsql
DOC := $(PREFIX)/share/doc/expgsql

CARGO_DEB_VERSION := 3.8.0
ZIGBUILD_VERSION := 0.24.1
ZIG_VERSION := 0.17.1
CARGO_DENY_VERSION := 0.18.9
TARGET := $(or $(CARGO_TARGET_DIR),target)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
PAGES := $(TARGET)/package
# What is installed as the program.
PROGRAM ?= $(TARGET)/release/expgsql
# Named in Cargo.toml, too, hence not elsewhere.
ROOT := target/package-root
CARGO_DEB := $(TARGET)/tools/bin/cargo-deb
CARGO_DENY := $(TARGET)/tools/bin/cargo-deny
ZIG := $(TARGET)/tools/zig/bin
OLDEST := $(shell uname -m)-unknown-linux-gnu

.PHONY: all install uninstall deb rpm root portable deny advisories

all:
	$(CARGO) build --release --locked --package expgsql --bin expgsql
	$(CARGO) run --quiet --locked --package packaging -- $(PAGES)

# Needs `make` before it; by itself it builds nothing, so that it can run as root after a build by somebody else.
install:
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(OCF)/expgsql
	install -d $(DESTDIR)$(SBIN)
	ln -sf $(OCF)/expgsql $(DESTDIR)$(SBIN)/expgsql
	for name in $$(cat $(PAGES)/links); do ln -sf $(OCF)/expgsql $(DESTDIR)$(SBIN)/$$name || exit 1; done
	install -d $(DESTDIR)$(MAN)/man7 $(DESTDIR)$(MAN)/man8
	install -m 644 $(PAGES)/man/*.7 $(DESTDIR)$(MAN)/man7/
	install -m 644 $(PAGES)/man/*.8 $(DESTDIR)$(MAN)/man8/
	install -D -m 644 $(PAGES)/completions/bash/expgsql $(DESTDIR)$(PREFIX)/share/bash-completion/completions/expgsql
	install -D -m 644 $(PAGES)/completions/zsh/_expgsql $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_expgsql
	install -D -m 644 $(PAGES)/completions/fish/expgsql.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/expgsql.fish
	install -d $(DESTDIR)$(DATA)/pcs-templates $(DESTDIR)$(DATA)/balancing $(DESTDIR)$(DOC)
	install -m 644 pcs-templates/* $(DESTDIR)$(DATA)/pcs-templates/
	install -m 644 balancing/* $(DESTDIR)$(DATA)/balancing/
	install -m 644 README.md LICENSE docs/*.md $(DESTDIR)$(DOC)/

uninstall:
	rm -f $(DESTDIR)$(OCF)/expgsql $(DESTDIR)$(SBIN)/expgsql $(DESTDIR)$(SBIN)/distlock $(DESTDIR)$(SBIN)/cls_*
	rm -f $(DESTDIR)$(MAN)/man7/ocf_heartbeat_expgsql.7 $(DESTDIR)$(MAN)/man8/expgsql*.8
	rm -f $(DESTDIR)$(PREFIX)/share/bash-completion/completions/expgsql
	rm -f $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_expgsql
	rm -f $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/expgsql.fish
	rm -rf $(DESTDIR)$(DATA) $(DESTDIR)$(DOC)

# What both packages are made of.
root: all
	rm -rf $(ROOT)
	$(MAKE) install DESTDIR=$(ROOT) PREFIX=/usr

$(CARGO_DEB):
	$(CARGO) install --locked --no-default-features --root $(TARGET)/tools cargo-deb@$(CARGO_DEB_VERSION)

deb: root $(CARGO_DEB)
	gzip -9nf $(ROOT)/usr/share/man/man?/*
	$(CARGO_DEB) --no-build --no-strip --package expgsql

rpm: root
	rpmbuild -bb --quiet --define '_topdir $(abspath $(TARGET))/rpmbuild' --define '_rpmdir $(abspath $(TARGET))/rpm' \
	    --define 'built_root $(abspath $(ROOT))' --define 'built_version $(VERSION)' packaging/expgsql.spec

$(ZIG)/cargo-zigbuild:
	python3 -m venv $(dir $(ZIG))
	$(ZIG)/pip install --quiet cargo-zigbuild==$(ZIGBUILD_VERSION) ziglang==$(ZIG_VERSION)

portable: $(ZIG)/cargo-zigbuild
	PATH="$(abspath $(ZIG)):$$PATH" $(CARGO) zigbuild --release --locked --package expgsql --bin expgsql --target $(OLDEST).2.28
	install -D -m 755 $(TARGET)/$(OLDEST)/release/expgsql $(TARGET)/portable/expgsql

$(CARGO_DENY):
	$(CARGO) install --locked --root $(TARGET)/tools cargo-deny@$(CARGO_DENY_VERSION)

deny: $(CARGO_DENY)
	$(CARGO_DENY) check licenses bans sources

advisories: $(CARGO_DENY)
	$(CARGO_DENY) check advisories
