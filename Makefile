# Two commands for a newcomer, `make demo` and `make test`; each makes its environment first. `make help` names the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Where tcmalloc is installed, trainings use it: a third of a training step was glibc's page faults.
TCMALLOC := $(firstword $(wildcard /usr/lib/*/libtcmalloc_minimal.so.4))
demo weights: export LD_PRELOAD := $(TCMALLOC)

.PHONY: help demo weights test test-pages bench faults audit fuzz lint types format release environment clean integrations docs pictures label test-label deploy-demo test-deploy pacs-demo test-pacs

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
MADE := .venv/made

# The demo is small: with the environment under six minutes on two cores. It shows the way; its score is not a result.
IMAGES := runs/images
PREPARED := runs/prepared
DRAWING := --num_studies 320 --num_test_studies 24 --size 256
SMALL := --image_size 96
TRAINING := --epochs 20 --val_interval 5
# MONAI warns of every config that it is code, as README.md does: here it is the repository's own.
RUN := $(BIN)/python -W 'ignore:parsing config_file' -m monai.bundle run

help: ## name the verbs
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/make \1\t\2/p' Makefile | expand -t 20

demo: $(MADE) $(IMAGES) ## synthetic images from DICOM to score, submission and overlays, under runs/
	@echo "== preparing: every image checked, folds by patient"
	$(BIN)/python -m scripts prepare --tree $(IMAGES) --out $(PREPARED)
	@echo "== training on four folds"
	$(RUN) training --config_file bundle/configs/train.json $(SMALL) $(TRAINING) --replace true
	@echo "== evaluating on the fifth fold"
	$(RUN) evaluating --config_file "['bundle/configs/train.json','bundle/configs/evaluate.json']" $(SMALL) --replace true
	@echo "== inferring on images without labels"
	$(RUN) inferring --config_file bundle/configs/inference.json --weights runs/training/last.pt $(SMALL) \
		--replace true || [ $$? = 3 ]
	@echo "== scoring the fifth fold"
	$(BIN)/python -m scripts score runs/evaluation/submission.csv --ground_truth $(PREPARED)/datalist.json --fold 0 \
		| tee runs/evaluation/score.txt
	@echo
	@echo "score        runs/evaluation/score.txt, of the fifth fold, synthetic images"
	@echo "submissions  runs/evaluation/submission.csv and runs/inference/submission.csv"
	@echo "overlays     runs/evaluation/overlays and runs/inference/overlays"
	@echo "TensorBoard  $(BIN)/tensorboard --logdir runs"

# A tree appears whole or not at all; one that stands there is kept. Order-only: a newer environment draws nothing anew.
$(IMAGES): | $(MADE)
	@echo "== generating images"
	$(BIN)/python -m scripts generate-synthetic --out $(IMAGES) $(DRAWING)

test: $(MADE) lint types ## style, types and the tests that are not slow
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m "not slow" $(PYTEST_OPTIONS)

# OpenVINO does not live with a preloaded allocator: its parts run without one.
bench: $(MADE) ## speed beside what a user would otherwise do: benchmarks/results.md; an idle machine, an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[bench]'
	LD_PRELOAD=$(TCMALLOC) $(BIN)/python -m benchmarks.speed measure --only preparation+augmentation+training+tables+growth+scaling+gpu
	$(BIN)/python -m benchmarks.speed measure --only inference+folder

# axe-core comes in a package whose own dependency, another driver of browsers, is not needed.
test-pages: $(MADE) ## reports and study pages in Chromium, with axe; needs Chromium and chromedriver
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt '.[browser]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps axe-playwright-python==0.1.8
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_pages_browser.py $(PYTEST_OPTIONS)

faults: $(MADE) ## kills, full disks, damaged files: a table of what was lost, under runs/faults (about an hour on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.faults measure

# Of an environment of its own: what it needs is no part of the project.
audit: ## known vulnerabilities of the pinned packages; needs a connection
	"$(PYTHON)" -m venv .venv-audit
	.venv-audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --no-deps --disable-pip --requirement constraints.txt

TRIES := 4000

fuzz: $(MADE) ## the reader on thousands of damaged images: some minutes, then counts of outcomes; [TRIES=files for each test]
	FUZZ=$(TRIES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --hypothesis-show-statistics tests/test_radiographs_fuzzing.py \
		$(PYTEST_OPTIONS)

lint: $(MADE) ## ruff
	$(BIN)/ruff check .

types: $(MADE) ## mypy
	$(BIN)/mypy

format: $(MADE) ## rewrite the code in ruff's format, imports sorted
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

# All that is shipped, from the images in DATA to weights; SLOTS trainings at a time, on one GPU. It resumes.
WEIGHTS := runs/weights
SLOTS ?= 1

weights: $(MADE) ## train what is shipped: DATA=labelled tree [UNLABELLED=tree] [PARTS=names] [SLOTS=trainings at a time]
	@[ -n "$(DATA)" ] || { echo 'error: expected DATA=FOLDER of labelled images, found none; say make weights DATA=...'; exit 1; }
	[ -f $(WEIGHTS)/prepared/datalist.json ] || $(BIN)/python -m scripts prepare --tree $(DATA) --out $(WEIGHTS)/prepared
	$(BIN)/python -m scripts make-weights $(PARTS) --plan_only --datalist $(WEIGHTS)/prepared/datalist.json --tree $(DATA)
	$(BIN)/python -m scripts make-weights $(PARTS) --datalist $(WEIGHTS)/prepared/datalist.json --tree $(DATA) \
		--out $(WEIGHTS) --models $(WEIGHTS)/models --cache_dir runs/cache --slots $(SLOTS) \
		$(if $(UNLABELLED),--external_tree $(UNLABELLED))

release: $(MADE) ## the bundle for the model zoo, under dist/, checked in a place of its own
	$(BIN)/python -m scripts release

# MONAI Label and MONAI Deploy want other versions than the bundle's own: an environment each, of their pins.
PACKED := dist/chest_xray_covid19
INTEGRATIONS := runs/integrations
LABEL := .venv-label/bin/python
DEPLOY := .venv-deploy/bin/python

integrations: $(MADE) ## pack the bundle, and predict the images that every integration predicts
	$(BIN)/python -m scripts release --checks=False
	$(BIN)/python -m apps.integrations ask --out $(INTEGRATIONS)

$(PACKED): | $(MADE)
	$(BIN)/python -m scripts release --checks=False

label: .venv-label/made | $(PACKED) ## MONAI Label on loopback: STUDIES=folder of images, or the URL of a DICOMweb server
	@[ -n "$(STUDIES)" ] || { echo 'error: expected STUDIES=FOLDER or a DICOMweb URL, found none; say make label STUDIES=...'; exit 1; }
	$(LABEL) -m apps.label.serve --studies $(STUDIES)

test-label: .venv-label/made integrations ## MONAI Label: predictions, corrections, training, browser; installs Orthanc and Chromium
	apps/install.sh
	INTEGRATIONS=$(INTEGRATIONS) $(LABEL) -m pytest -q apps/label $(PYTEST_OPTIONS)
	$(BIN)/python -m apps.integrations report --out $(INTEGRATIONS)

deploy-demo: .venv-deploy/made integrations ## MONAI Deploy: its app on synthetic studies, results under runs/deploy
	mkdir -p runs/deploy
	ulimit -s 32768; $(DEPLOY) apps/deploy/app.py -i $(INTEGRATIONS)/images -o runs/deploy -m $(PACKED)

test-deploy: .venv-deploy/made integrations ## MONAI Deploy: predictions, results as DICOM objects, rejections
	ulimit -s 32768; INTEGRATIONS=$(INTEGRATIONS) $(DEPLOY) -m pytest -q -p no:cacheprovider --rootdir apps/deploy apps/deploy $(PYTEST_OPTIONS)
	$(BIN)/python -m apps.integrations report --out $(INTEGRATIONS)

pacs-demo: $(MADE) ## PACS loop: Orthanc and the service on loopback, synthetic studies sent, results under runs/pacs/demo; installs Orthanc
	apps/install.sh
	$(BIN)/python -W ignore -m apps.pacs.demo

test-pacs: $(MADE) integrations ## PACS loop: predictions, late images, kills, hostile input; installs Orthanc and dcmtk
	apps/install.sh
	INTEGRATIONS=$(INTEGRATIONS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -p no:cacheprovider apps/pacs $(PYTEST_OPTIONS)
	$(BIN)/python -m apps.integrations report --out $(INTEGRATIONS)

.venv-label/made .venv-deploy/made: .venv-%/made: apps/%/requirements.txt apps/%/constraints.txt
	@echo "== making the environment in .venv-$*: several minutes and 7 GB, once"
	@"$(PYTHON)" -m venv .venv-$*
	.venv-$*/bin/python -m pip install --disable-pip-version-check --no-compile --progress-bar off \
		--constraint apps/$*/constraints.txt --requirement apps/$*/requirements.txt
	@touch $@

docs: $(MADE) ## the documents as a site, runs/site/index.html
	@$(BIN)/python -c 'import material' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check --no-compile \
		--progress-bar off --constraint constraints.txt '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --config-file apps/site/mkdocs.yml
	@echo "runs/site/index.html; its search works where it is served: $(BIN)/python -m http.server -d runs/site -b 127.0.0.1"

pictures: $(MADE) ## pictures of pages in the documents, of synthetic images by the present weights: a quarter of an hour; needs Chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m apps.site.pictures bundle/docs/images

environment: $(MADE) ## .venv as pyproject.toml and constraints.txt say

clean: ## remove the environments and all caches; runs/ stays
	rm -rf .venv .venv-label .venv-deploy .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Made anew where what it is made of has changed. Modules are compiled when they are first imported: most never are.
$(MADE): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'error: expected Python 3.11 or newer; install it, or name it: make PYTHON=/path/to/python3.11'; exit 1; }
	@echo "== making the environment in .venv: several minutes and 7 GB, once"
	@"$(PYTHON)" -m venv .venv \
		|| { echo "error: $(PYTHON) makes no virtual environments; on Debian install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar off \
		--constraint constraints.txt '.[test,dev,pretrained]'
	@touch $(MADE)
