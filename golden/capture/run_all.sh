#!/bin/sh
# Captures every golden anew and rewrites the manifest:
#     golden/capture/run_all.sh R N S MODELS
# R, N and S are the folders of the three builds that build_reference.sh made; MODELS is a folder for models and
# vocabularies, filled where something is missing. Needs cargo and two gigabytes, and takes about an hour.
set -eu

# Absolute, for this changes the folder.
absolute() { mkdir -p "$1" && (cd "$1" && pwd); }

r=$(absolute "${1:?folder of build R}")
n=$(absolute "${2:?folder of build N}")
s=$(absolute "${3:?folder of build S}")
models=$(absolute "${4:?folder for models}")
for build in R N S; do
    case $build in R) dir=$r ;; N) dir=$n ;; *) dir=$s ;; esac
    if [ "$(cat "$dir/reference-build" 2>/dev/null)" != "$build" ]; then
        echo "$dir is no build $build: make it with build_reference.sh $build $dir" >&2
        exit 2
    fi
done
cd "$(dirname "$0")"

capture() {
    echo "== $*"
    "$r/bin/python" "$@"
}

capture models.py --dir "$models" --large

# Files to break; one of them has a tensor of every type that the golden of the types names.
capture header.py --tensor-types
mkdir -p "$models/hostile"
cargo run --quiet -p golden --example hostile -- "$models/hostile"
capture header.py --mutants "$models/hostile/mutants.bin" \
    t0="$models/hostile/t0.gguf" t1="$models/hostile/t1.gguf" t1-bpe="$models/hostile/t1-bpe.gguf" \
    every-type="$models/hostile/every-type.gguf" smollm2-q4_1="$models/smollm2-q4_1.gguf" \
    qwen2.5-coder-0.5b="$models/qwen2.5-coder-0.5b.gguf" gemma3-270m="$models/gemma3-270m.gguf"

capture tokens.py --smollm2 "$models/smollm2-q4_1.gguf" --qwen2.5-coder-0.5b "$models/qwen2.5-coder-0.5b.gguf" \
    --gemma3-270m "$models/gemma3-270m.gguf" --vocabs "$models/vocabs"
capture dequant.py
capture quantize.py "$models/smollm2-q4_1.gguf"
capture ops.py
capture sampler.py --smollm2 "$models/smollm2-q4_1.gguf"
capture trace_format.py

prompt="The capital of France is"
capture trace.py --name smollm2-q4_1 --model "$models/smollm2-q4_1.gguf" --prompt "$prompt" --check --full
for name in smollm2-q4_0 smollm2-q4_k_m smollm2-q6_k qwen2.5-coder-0.5b gemma3-270m; do
    capture trace.py --name "$name" --model "$models/$name.gguf" --prompt "$prompt" --check
done
capture tiny.py

for name in smollm2-q4_1 smollm2-q4_0 smollm2-q4_k_m smollm2-q6_k qwen2.5-coder-0.5b gemma3-270m; do
    case $name in smollm2-*) steps=64 ;; *) steps=32 ;; esac
    capture text.py --name "$name" --model "$models/$name.gguf" --steps "$steps"
    echo "== text.py --native, $name"
    "$n/bin/python" text.py --name "$name" --model "$models/$name.gguf" --native
done

capture templates.py --server "$s/build/bin/llama-server" --source "$s/source/vendor/llama.cpp" \
    --model smollm2-q4_1="$models/smollm2-q4_1.gguf" --model qwen2.5-coder-0.5b="$models/qwen2.5-coder-0.5b.gguf"
[ -x "$models/perplexity/bin/llama-perplexity" ] || ./build_perplexity.sh "$models/perplexity"
capture perplexity.py --tool "$models/perplexity/bin/llama-perplexity" \
    --base-name smollm2-q4_1 --base "$models/smollm2-q4_1.gguf" \
    --name smollm2-q4_0 --model "$models/smollm2-q4_0.gguf"

capture manifest.py
