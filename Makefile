# The words of the house; CI says only these. docs/testing.md tells what each test word holds and how long it takes.

.PHONY: build release serve test race lint fuzz parity kube crash sim chaos soak bench

build: ## the binary, in bin/
	go build -trimpath -o bin/holdfast ./cmd/holdfast

release: ## static binaries for linux on amd64 and arm64, with version and checksums, in dist/
	@scripts/release.sh

serve: build ## a single member in ./default.holdfast
	bin/holdfast serve

test: ## the ordinary tests; what CI runs
	@scripts/test.sh

race: ## the race detector over the rooms where goroutines meet
	@scripts/race.sh

lint: ## the rules of the house
	go test -count=1 ./internal/lint

fuzz: ## every fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh

parity: ## PARITY_OPS (100000) random operations on etcd and on Holdfast
	cd parity && PARITY_OPS=$${PARITY_OPS:-100000} go test -count=1 -v -timeout 4h -run TestParity ./...

kube: ## KUBE_SECONDS (60) of two apiservers at work; KUBE_PEER=etcd for comparison
	cd kube && KUBE_SECONDS=$${KUBE_SECONDS:-60} go test -count=1 -v -timeout 4h ./...

crash: ## power cuts and failing disks at length, CRASH_COUNT (20) times
	@scripts/crash.sh

sim: ## whole clusters from new seeds, for SIM_MINUTES (10)
	@scripts/sim.sh

chaos: ## CHAOS_KILLS (100) leaders of real clusters killed, within CHAOS_MINUTES (60)
	@scripts/chaos.sh

soak: ## SOAK_KILLS (200) times kill -9 under load
	@scripts/soak.sh

bench: ## Holdfast and etcd side by side
	cd bench && go run .
