# The guide's verbs, one by one in as many terminals as there are. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

STREAM   ?= kcl-experiment
SHARDS   ?= 20
SPLIT    ?= 10
PORT     ?= 4566
RATE     ?= 40
LOGS     ?= logs
EXPERIMENT ?= deploy/experiments/rebalance.yaml
CARGO    ?= cargo
KINEX    ?= $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/kinex
DENY_VERSION := 0.20.2
DENY     := $(abspath target/tools/cargo-deny-$(DENY_VERSION))
HELM     ?= $(abspath target/cluster/bin/helm)
BACKEND  ?= embedded
KIND     ?= kind
DOCKER   ?= docker
KUBECTL  ?= kubectl
IN_KIND   = --context kind-kinex
URL      := http://127.0.0.1:$(PORT)
AT       := --endpoint-url $(URL) --stream $(STREAM) --application $(STREAM)
CONSUMERS := consumer-pod1 consumer-pod2 consumer-pod3 consumer-pod4 consumer-pod5

# In the foreground of its own terminal: the log is on the screen and in logs/, the process id in logs/.
# Who runs is who holds the lock on NAME.lock: it is gone with its holder, however that ended, and no number of another
# process can stand in for it. `exec` keeps the id and the lock; `stop` ends exactly these processes.
define foreground
@mkdir -p $(LOGS)
@bash -c 'exec 9>>$(LOGS)/$(1).lock; flock -n 9 || { \
    echo "$(1) runs already (process $$(cat $(LOGS)/$(1).pid)); Ctrl-C in its terminal or \`make stop\` ends it" >&2; exit 1; }; \
  echo $$$$ > $(LOGS)/$(1).pid; \
  exec 2>&1 > >(trap "" INT TERM; exec tee -a $(LOGS)/$(1).log 9>&-) ; \
  echo "$(1): log in $(LOGS)/$(1).log, Ctrl-C or \`make stop\` ends it"; \
  exec $(2) 2>&1'; \
  code=$$?; [ $$code -eq 130 ] || [ $$code -eq 143 ] || exit $$code
endef

# A shell condition: whether the process of this name runs.
runs = [ -e $(LOGS)/$(1).lock ] && ! flock -n $(LOGS)/$(1).lock true

.PHONY: help build start verify $(CONSUMERS) producer monitor split view-dist analyze export timeline stop clean demo test signals signals-test workspace-test localstack-test peers helm chart-test kind-up kind-down lint bench cluster-up cluster-down cluster-test

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-zA-Z0-9_ -]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf "  %-14s %s\n" "consumer-podN" "Run consumer N, 1 to 5, in this terminal"

build: ## Build the kinex command
	$(CARGO) build --locked --workspace --bin kinex

start: build ## Start the local endpoints and a stream of 20 shards, in the background
	@mkdir -p $(LOGS)
	@if $(call runs,emulator); then \
	  echo "the emulator runs already (process $$(cat $(LOGS)/emulator.pid)); \`make stop\` ends it"; \
	else \
	  rm -f $(LOGS)/emulator.pid; \
	  nohup flock --no-fork -n $(LOGS)/emulator.lock $(KINEX) emulator --port $(PORT) --pid-file $(LOGS)/emulator.pid \
	    > $(LOGS)/emulator.log 2>&1 < /dev/null & \
	  for i in $$(seq 600); do \
	    [ -s $(LOGS)/emulator.pid ] && break; \
	    kill -0 $$! 2>/dev/null || { cat $(LOGS)/emulator.log >&2; exit 1; }; \
	    sleep 0.1; \
	  done; \
	fi
	@$(KINEX) start $(AT) --shards $(SHARDS)

verify: ## Count total, open and closed shards
	@$(KINEX) verify $(AT)

$(CONSUMERS): consumer-pod%:
	$(call foreground,consumer-pod-$*,$(KINEX) consumer $(AT) --worker-id consumer-pod-$*)

producer: ## Send records, in this terminal
	$(call foreground,producer,$(KINEX) producer $(AT) --records-per-second $(RATE))

monitor: ## Show the leases per worker, live, in this terminal
	@$(KINEX) monitor $(AT) --watch

split: ## Split 10 shards
	@$(KINEX) split $(AT) --count $(SPLIT)

view-dist: ## Show the leases per worker now
	@$(KINEX) view-dist $(AT)

analyze: ## Judge the distribution: per worker, ideal, CV, verdict
	@$(KINEX) analyze $(AT)

export: ## Write the lease table to logs/leases.json and logs/leases.csv
	@mkdir -p $(LOGS)
	@$(KINEX) export $(AT) --file $(LOGS)/leases.json
	@$(KINEX) export $(AT) --file $(LOGS)/leases.csv

timeline: ## Write a line about the leases every 10 s, in this terminal
	@$(KINEX) timeline $(AT)

stop: ## End every process that these targets started: consumers first, then the producer and the endpoints
	@for name in consumer-pod-1 consumer-pod-2 consumer-pod-3 consumer-pod-4 consumer-pod-5 producer emulator; do \
	  $(call runs,$$name) || continue; pid=$$(cat $(LOGS)/$$name.pid); \
	  kill -TERM $$pid; \
	  for i in $$(seq 300); do $(call runs,$$name) || break; sleep 0.1; done; \
	  if $(call runs,$$name); then echo "$$name does not leave: killed"; kill -KILL $$pid; else echo "$$name stopped"; fi; \
	done

clean: stop ## Stop everything, and delete logs and reports
	@rm -rf $(LOGS) reports

demo: build ## Play the guide's whole experiment and write its report
	$(KINEX) run $(EXPERIMENT)

test: ## Check format, lints and licenses, then run all tests; needs root, or KUBECONFIG
	@tests/cluster/while-building $(MAKE) --no-print-directory lint peers signals helm workspace-test
	@tests/cluster/test

workspace-test:
	$(CARGO) test --locked --workspace

peers: ## Install the independent implementations that the tests compare with, into target/peers
	@tests/peers/install

signals: ## Install a Prometheus and Grafana's models for the tests, into target/signals
	@tests/signals/install

signals-test: signals ## Test metrics, dashboards and alerts with a real Prometheus
	$(CARGO) test --locked --workspace --test signals

helm: ## Build Helm, into target/cluster/bin
	@tests/cluster/build helm

chart-test: helm ## Test what the Helm chart renders
	HELM=$(HELM) $(CARGO) test --locked --workspace --test chart

# LocalStack's image starts as root, so it has a namespace of its own and the chart is told its URL.
VALUES_embedded   := --set backend=embedded
VALUES_localstack := --set backend=localstack --set localstack.externalUrl=http://localstack.localstack.svc:4566

kind-up: helm ## Make a cluster with kind, build and load the image, install Kinex, Prometheus and Grafana; BACKEND=localstack
	@[ -n "$(VALUES_$(BACKEND))" ] || { echo "BACKEND=$(BACKEND) is not embedded or localstack" >&2; exit 2; }
	$(KIND) get clusters | grep -qx kinex || $(KIND) create cluster --config kind-config.yaml --wait 3m
	$(DOCKER) build --tag kinex:dev .
	$(KIND) load docker-image kinex:dev --name kinex
	$(KUBECTL) $(IN_KIND) apply -f deploy/kind/
	$(KUBECTL) $(IN_KIND) delete --ignore-not-found $(foreach file,$(filter-out %/$(BACKEND).yaml,$(wildcard deploy/kind/endpoint/*.yaml)),-f $(file))
	$(KUBECTL) $(IN_KIND) apply -f deploy/kind/endpoint/$(BACKEND).yaml
	$(KUBECTL) create configmap kinex-alerts --namespace monitoring --from-file=charts/kinex/alerts --dry-run=client -o yaml \
	  | $(KUBECTL) $(IN_KIND) apply -f -
	$(HELM) upgrade --install kinex charts/kinex --kube-context kind-kinex --namespace kinex --wait=legacy --timeout 10m \
	  --values deploy/kind-values.yaml $(VALUES_$(BACKEND))
	$(KUBECTL) $(IN_KIND) rollout restart deployment grafana prometheus --namespace monitoring
	@echo "Prometheus http://127.0.0.1:9090, Grafana http://127.0.0.1:3000, Kinesis and DynamoDB http://127.0.0.1:4566"

kind-down: ## Delete that cluster
	$(KIND) delete cluster --name kinex

cluster-up: ## Start a real Kubernetes for tests, with the image kinex:dev
	@tests/cluster/while-building $(MAKE) --no-print-directory build
	@tests/cluster/up
	@tests/cluster/image kinex $(KINEX) target/cluster/kinex.tar
	@tests/cluster/load target/cluster/kinex.tar

cluster-down: ## Stop that Kubernetes
	@tests/cluster/down

cluster-test: ## Run the tests that need a cluster: KUBECONFIG's, or one started for them
	@tests/cluster/test

lint: $(DENY) ## Check format, lints, licenses and sources
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(DENY)/bin/cargo-deny check bans licenses sources

$(DENY):
	$(CARGO) install --quiet --locked --debug --root $(DENY).part cargo-deny --version $(DENY_VERSION)
	@mv $(DENY).part $(DENY)

localstack-test: build ## Play the experiment on a real LocalStack, which this installs (0.6 GB); needs root
	@tests/localstack/test $(KINEX)

bench: build ## Measure speed, requests and memory, and compare both strategies on the guide's experiment
	$(CARGO) bench --locked --profile dev --bench figures
	-$(KINEX) run $(EXPERIMENT) --report reports/balanced
	-$(KINEX) run $(EXPERIMENT) --report reports/stealing --set strategy=Stealing --set leaseStealingInterval=2s
	$(KINEX) diff reports/balanced reports/stealing
