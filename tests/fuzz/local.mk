# Fuzz targets: each file has LLVMFuzzerTestOneInput; in make check they replay their corpus through tests/fuzz/replay.c,
# with clang and --enable-fuzz-engine... see HACKING.md.
