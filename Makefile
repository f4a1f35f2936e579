# make help lists the targets. Tool versions are pinned here and nowhere else.
GOLANGCI_LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS  = -X github.com/syncd-io/syncd/cli.version=$(VERSION)
# The sandbox's MongoDB server is compiled only with this tag.
TAGS     = ferretdb_sqlite
# Many tests wait, for servers or for what is timed, so twice as many packages as there are processors run at a time, and each
# may take longer than go test allows by itself.
GOFLAGS_TEST ?= -race -shuffle=on -timeout 30m -p $(shell echo $$(( 2 * $$(getconf _NPROCESSORS_ONLN) )))
# By default, go test compiles every package again without debug data. With -o it links the packages that make build has compiled. Only
# tests without the race detector gain by that. Each target has its own directory, $(1).
kept = $(VET) -ldflags '-s -w' -o $(CURDIR)/bin/tests/$(1)/
# The race detector has a program wait for a second at its end, in which others' races might still be seen. The tests end their
# goroutines, and start hundreds of programs.
export GORACE ?= atexit_sleep_ms=10
MODULES  = . sandbox bench integration examples/custom-binary deploy
# The suites also run against a MongoDB-protocol server in Java, which needs Java and Maven.
JAVA     = $(shell command -v java >/dev/null && command -v mvn >/dev/null && echo yes)

.PHONY: help build test check lint docs fmt tidy demo sandbox bench fuzz clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /  make \1\t/' | expand -t 18

build: ## build bin/syncd
	go build -ldflags '$(LDFLAGS)' -o bin/syncd ./cmd/syncd

bin/sandbox: FORCE
	cd sandbox && go build -tags $(TAGS) -o ../bin/sandbox ./cmd/sandbox

test: build ## run every test
	go test $(VET) $(GOFLAGS_TEST) -coverpkg=$(COVERPKG) -coverprofile=bin/cover.root.out ./...
ifneq ($(JAVA),yes)
	@echo "java or mvn is not installed: the tests against mongo-java-server are left out"
endif
	$(MAKE) -j2 --output-sync=target test-sandbox test-programs
	cd examples/custom-binary && go test $(VET) $(GOFLAGS_TEST) ./...
	cd deploy && go test $(call kept,deploy) ./...
	cd bench && go test $(call kept,bench) ./...

.PHONY: test-sandbox test-programs
test-sandbox:
	cd sandbox && $(if $(JAVA),,SYNCD_SKIP_JAVA=1) go test $(VET) $(GOFLAGS_TEST) -coverpkg=$(COVERPKG) -coverprofile=../bin/cover.sandbox.out -tags $(TAGS) $$(go list -tags $(TAGS) ./... | grep -v -e /e2e -e /faults)
# The end-to-end tests run the built program; the race detector would only slow down their servers.
test-programs:
	cd sandbox && go test $(call kept,programs) -shuffle=on -timeout 30m -tags $(TAGS) ./e2e ./faults

# The linters have vetted every package, so go test need not do so again.
check: export VET = -vet=off
check: lint test cover beside cover-served browser ## exactly what CI runs

# The integration tests mostly wait for servers, so what only computes runs beside them.
.PHONY: beside computing
beside:
	$(MAKE) -j4 --output-sync=target integration-outages integration-databases integration-rest computing
computing:
	$(MAKE) bench-once
	$(MAKE) fuzz-ci

# What the promises rest on, and how much of it the tests must reach, in percent. The tests of other packages count as well: the
# engine is tested by whole runs, from package job and from the sandbox.
COVERED     = engine job audit arrival planfile sendlog verdict tally store store/bolt store/marks mapping config codec \
              connectors/file connectors/mongo connectors/internal/rows checkers/qdrant sinks/file sinks/kafka internal/bsondoc internal/points
# Of what speaks to PostgreSQL, most is SQL, which only a server understands: the integration tests count for it.
SERVED      = connectors/postgres checkers/pgvector sinks/pgvector
LEAST_COVER = 85
empty      :=
comma      := ,
packages    = $(subst $(empty) $(empty),$(comma),$(strip $(addprefix github.com/syncd-io/syncd/,$(1))))
COVERPKG    = $(call packages,$(COVERED) $(SERVED))
.PHONY: cover cover-served
cover-served: COVERED = $(SERVED)
cover cover-served: # what the last make test has reached, and make integration behind it
	@for pkg in $(COVERED); do \
		(echo 'mode: atomic'; grep -h "^github.com/syncd-io/syncd/$$pkg/[^/]*:" bin/cover.*.out) > bin/cover.one; \
		go tool cover -func bin/cover.one | awk -v pkg=$$pkg -v least=$(LEAST_COVER) \
			'/^total:/ { print pkg ": " $$3 " of statements"; exit $$3 + 0 < least }' || exit 1; \
	done

.PHONY: integration integration-tools integration-outages integration-databases integration-rest
EVENTS ?= 100000
integration: ## tests against servers that nobody here wrote; EVENTS=1000000, WRITES=200000 for the long ones
	$(MAKE) -j3 --output-sync=target integration-outages integration-databases integration-rest

# Three parts, of about the same length, side by side: within one the tests run one after another, as suites look for goroutines that are
# left behind.
OUTAGES   = ^Test(Broker|Killed|Stream|ClusterKilled)
DATABASES = ^Test(Postgres|PGVector|Secantus|Search)
integration-outages integration-databases integration-rest: export SYNCD_TEST_EVENTS = $(EVENTS)
integration-outages integration-databases integration-rest: export SYNCD_TEST_WRITES = $(WRITES)
integration-outages: integration-tools
	cd integration && go test $(call kept,outages) -count=1 -timeout 2h -run '$(OUTAGES)' $$(go list ./... | grep -v /browser)
integration-databases: integration-tools
	cd integration && go test $(call kept,databases) -count=1 -timeout 2h -run '$(DATABASES)' -coverpkg=$(call packages,$(SERVED)) -coverprofile=../bin/cover.integration.out $$(go list ./... | grep -v /browser)
integration-rest: integration-tools
	cd integration && go test $(call kept,rest) -count=1 -timeout 2h -skip '$(OUTAGES)|$(DATABASES)' $$(go list ./... | grep -v /browser)
integration-tools:
	@mkdir -p bin
	@for tool in java mvn python3; do command -v $$tool >/dev/null || \
		{ echo "make integration: $$tool is not installed; it takes java 17 or newer, mvn, and python3 3.11 or newer with pip" >&2; exit 1; }; done

.PHONY: browser
browser: ## tests of the page in Chromium; needs chromium
	cd integration && go test $(call kept,browser) -count=1 -timeout 10m ./browser

# The linter govet runs every analysis of go vet, on tests as well, so go vet is not run. GOGC=400 saves a third of the linters' CPU and
# takes about 4 GB of memory.
lint: bin/tools/golangci-lint ## vet, formatting, linters and the direction of imports
	@for m in $(MODULES); do \
		echo "lint $$m"; \
		(cd $$m && go mod verify >/dev/null && go mod tidy -diff) || exit 1; \
		(cd $$m && GOGC=400 $(CURDIR)/bin/tools/golangci-lint run --config $(CURDIR)/.golangci.yml --build-tags $(TAGS) ./...) || exit 1; \
	done

bin/tools/golangci-lint: Makefile
	GOBIN=$(CURDIR)/bin/tools go install $(GOLANGCI_LINT)
	@touch $@

docs: build ## regenerate docs/reference and configs/syncd.schema.json
	rm -f docs/reference/*.md
	bin/syncd reference --dir docs/reference --examples config/testdata --examples cmd/syncd/testdata
	bin/syncd schema > configs/syncd.schema.json

fmt: ## format the code
	gofmt -w $$(git ls-files '*.go')

tidy: ## tidy all modules
	@for m in $(MODULES); do (cd $$m && go mod tidy) || exit 1; done

demo: build bin/sandbox ## against servers started for it: 1500 documents, the 100 that were added, then changes as they are made
	bin/sandbox demo -syncd bin/syncd -config configs/sandbox.yaml

sandbox: build bin/sandbox ## servers with sample documents, until Ctrl-C
	bin/sandbox up -syncd bin/syncd -config configs/sandbox.yaml

# The stages of a document's way, each alone.
BENCHED = ./mapping ./internal/bsondoc ./connectors/internal/rows ./checkers/qdrant ./codec ./sinks/kafka ./store/bolt ./arrival

bench: build ## syncd beside the loops that one would write by hand, and the gates; OLD=path or git revision compares with that too
	cd bench && go build -o ../bin/bench .
	bin/bench -syncd bin/syncd -sizes $(SIZES) -n $(REPEAT) -old '$(OLD)'

.PHONY: bench-peers
bench-peers: build # programs of others that send a collection to Kafka, beside syncd; needs java and mvn; Benthos is fetched and built
	cd bench && go build -o ../bin/bench .
	cd bench/peers && go build -o ../../bin/benthos .
	bin/bench peers -syncd bin/syncd -benthos bin/benthos

.PHONY: bench-stages
bench-stages: # the stages of a document's way, each alone
	go test -run '^$$' -bench . -benchmem $(BENCHED)
	cd sandbox && go test -run '^$$' -bench . -benchmem -tags $(TAGS) ./...

.PHONY: soak
SOAK ?= 10m
soak: ## runs under faults of random seeds, for SOAK or for SEEDS of them; a failing seed is printed and can be run again
	cd sandbox && SOAK=$(SOAK) SEEDS=$(SEEDS) go test -count=1 -timeout 0 -tags $(TAGS) ./faults -run '^TestSoak$$' -v

SIZES  ?= 10000,100000,1000000
REPEAT ?= 5

.PHONY: bench-once
bench-once: # that the benchmarks still run
	go test $(call kept,stages) -run '^$$' -bench . -benchtime 1x $(BENCHED) >/dev/null
	cd bench && go build -o ../bin/bench . && cd .. && bin/bench -syncd bin/syncd -sizes 10000 -bytes 2000,500 -n 1 -gates=false

FUZZTIME ?= 30s
fuzz: ## run each fuzz target for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r pkg; do \
		for target in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$pkg/*_test.go | sed 's/func //'); do \
			echo "fuzz $$pkg $$target"; (cd $$(dirname $$(cd $$pkg && go env GOMOD)) && go test -tags $(TAGS) -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $(CURDIR)/$$pkg) || exit 1; \
		done; done

# The parsers of what others wrote, and what ids and events are made of; those of a package side by side, since it is built once.
# What earlier runs have found would take up the time.
FUZZED = config:FuzzLoad config:FuzzEdit config:FuzzFlatKey mapping:FuzzSeed internal/bsondoc:FuzzIDText \
         internal/bsondoc:FuzzAppendJSON codec:FuzzMongoKafka codec:FuzzReadLetter codec:FuzzDecode connectors/file:FuzzBSON \
         connectors/file:FuzzNDJSON internal/extjson:FuzzExtJSON checkers/qdrant:FuzzAnswer checkers/qdrant:FuzzPayload \
         checkers/qdrant:FuzzPage connectors/mongo:FuzzPosition connectors/mongo:FuzzEvent connectors/postgres:FuzzArray \
         connectors/postgres:FuzzFilter connectors/postgres:FuzzRowMessage stages/embed:FuzzAnswer stages/chunk:FuzzFormats
.PHONY: fuzz-ci
fuzz-ci: FUZZTIME = 3s
fuzz-ci: # a part of make fuzz that CI has the time for
	@rm -rf bin/fuzz && mkdir -p bin/fuzz; built=; for target in $(FUZZED); do \
		echo "fuzz $$target"; pkg=$${target%:*}; \
		if [ "$$pkg" != "$$built" ]; then go test $(VET) -c -fuzz . -o bin/fuzz/program ./$$pkg || exit 1; built=$$pkg; fi; \
		(cd $$pkg && $(CURDIR)/bin/fuzz/program -test.run '^$$' -test.fuzz "^$${target#*:}$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$(CURDIR)/bin/fuzz/$$pkg") || exit 1; \
	done

PREFIX ?= /usr/local
.PHONY: install
install: build ## install the program, man pages, completions and schema below PREFIX, which is /usr/local; DESTDIR for packagers
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/syncd
	install -m 0755 bin/syncd $(DESTDIR)$(PREFIX)/bin/syncd
	bin/syncd man --dir $(DESTDIR)$(PREFIX)/share/man/man1
	bin/syncd completion bash > $(DESTDIR)$(PREFIX)/share/bash-completion/completions/syncd
	bin/syncd completion zsh > $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_syncd
	bin/syncd completion fish > $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/syncd.fish
	bin/syncd schema > $(DESTDIR)$(PREFIX)/share/syncd/syncd.schema.json

.PHONY: release release-check
ARCHS ?= amd64 arm64
release: ## archives, deb and rpm packages, checksums and SBOMs in dist/; VERSION=v1.2.3 unless a tag says so; ARCHS=amd64 for one
ifneq ($(findstring -dirty,$(VERSION)),)
	$(error the checkout has changes that no commit has; commit them, or say what this is with VERSION=…)
endif
	ARCHS='$(ARCHS)' deploy/release.sh '$(VERSION)' dist

# The second build starts from a copy elsewhere and an empty cache, so nothing is the same by being kept.
release-check: # that the release can be installed, and built again, byte for byte; after make release
	deploy/check-release.sh '$(VERSION)' dist
	rm -rf bin/again && mkdir -p bin/again && tmp=$$(mktemp -d) && trap 'rm -rf "$$tmp"' EXIT && \
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$$tmp" && \
	ARCHS='$(ARCHS)' SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) GOCACHE="$$tmp/cache" "$$tmp/deploy/release.sh" '$(VERSION)' "$(CURDIR)/bin/again" && \
	diff -u dist/SHA256SUMS bin/again/SHA256SUMS && echo 'both builds are the same'

clean: ## remove what was built
	rm -rf bin dist

FORCE:
