#!/usr/bin/env bash
# The kernels' unit tests for AArch64 on any Linux machine, in an emulator: every instruction set that the emulated CPU
# has is compared with scalar code, bit for bit. Needs aarch64-linux-gnu-gcc (as the linker) and qemu-aarch64. Arguments
# go to the tests: a name to filter by, --nocapture, ...
set -euo pipefail
cd "$(dirname "$0")"
export INSTA_UPDATE=no
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
# The goldens are those of x86-64's C library: AArch64's tanhf rounds some numbers otherwise. And whether a rate is one
# that a CPU can have is no question to an emulator.
exec cargo test -p kernels --lib --target aarch64-unknown-linux-gnu --no-default-features -- \
    --skip this_libm_is_that_of_the_goldens --skip rates_are_possible "$@"
