#!/bin/sh
# Builds the reference into a virtual environment, from the source package `llama-cpp-python` 0.3.36:
#     golden/capture/build_reference.sh R DIR     the scalar build that goldens are captured from
#     golden/capture/build_reference.sh N DIR     the native build, llama.cpp's own defaults for this machine
#     golden/capture/build_reference.sh S DIR     llama-server of the same source, whose engine renders chat templates
# Needs Python 3.11 or later, a C and C++ compiler (gcc 12 was used), and about ten minutes on two cores.
# PYTHON names another interpreter; PIP_INDEX_URL and CMAKE_BUILD_PARALLEL_LEVEL mean what they always mean.
set -eu

build=${1:?R or N}
dir=${2:?folder of the virtual environment}
here=$(cd "$(dirname "$0")" && pwd)

case $build in
R)
    CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DGGML_SSE42=OFF -DGGML_AVX=OFF -DGGML_AVX2=OFF \
-DGGML_BMI2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF -DGGML_CPU_REPACK=OFF -DGGML_LLAMAFILE=OFF -DGGML_OPENMP=OFF \
-DCMAKE_C_FLAGS=-ffp-contract=off -DCMAKE_CXX_FLAGS=-ffp-contract=off"
    ;;
N)
    CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON"
    ;;
S)
    CMAKE_ARGS="-DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_TESTS=OFF \
-DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_OPENSSL=OFF"
    ;;
*)
    echo "the build is R, N or S, not $build" >&2
    exit 2
    ;;
esac
export CMAKE_ARGS

"${PYTHON:-python3}" -m venv "$dir"
if [ "$build" = S ]; then
    "$dir/bin/python" -m pip install cmake ninja
    "$dir/bin/python" -m pip download --no-deps --no-binary llama-cpp-python -r "$here/requirements.txt" -d "$dir/source"
    tar -xzf "$dir"/source/llama_cpp_python-*.tar.gz -C "$dir/source" --strip-components=1
    # shellcheck disable=SC2086
    PATH="$dir/bin:$PATH" cmake -G Ninja -S "$dir/source/vendor/llama.cpp" -B "$dir/build" $CMAKE_ARGS
    PATH="$dir/bin:$PATH" cmake --build "$dir/build" --target llama-server
    echo "$build" >"$dir/reference-build"
    exit
fi
# Wheels that pip built before are not reused: the two builds have the same name and version.
"$dir/bin/python" -m pip install --no-cache-dir --no-binary llama-cpp-python -r "$here/requirements.txt"
echo "$build" >"$dir/reference-build"
"$dir/bin/python" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)'
