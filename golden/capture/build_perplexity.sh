#!/bin/sh
# Builds llama-perplexity with the flags of build R, from the source package `llama-cpp-python` 0.3.36:
#     golden/capture/build_perplexity.sh DIR     leaves DIR/bin/llama-perplexity and its libraries
# Needs Python 3, a C and C++ compiler, and about ten minutes on two cores.
set -eu

dir=${1:?folder of the build}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

"${PYTHON:-python3}" -m venv "$dir/venv"
PATH="$dir/venv/bin:$PATH"
pip install --quiet cmake ninja scikit-build-core
pip download --quiet --no-deps --no-build-isolation --no-binary llama-cpp-python -d "$dir" llama-cpp-python==0.3.36
tar -xzf "$dir/llama_cpp_python-0.3.36.tar.gz" -C "$dir"
cmake -S "$dir/llama_cpp_python-0.3.36/vendor/llama.cpp" -B "$dir" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
    -DGGML_NATIVE=OFF -DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF \
    -DGGML_CPU_REPACK=OFF -DGGML_LLAMAFILE=OFF -DGGML_OPENMP=OFF \
    -DCMAKE_C_FLAGS=-ffp-contract=off -DCMAKE_CXX_FLAGS=-ffp-contract=off
cmake --build "$dir" --target llama-perplexity
