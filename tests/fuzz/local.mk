# Fuzz targets: tests/fuzz/fuzz_NAME.c has LLVMFuzzerTestOneInput, tests/fuzz/corpus/NAME its seeds.
#
# In `make check` each is linked with replay.c and runs once over its seeds. `make fuzz-smoke` builds each
# with clang's libFuzzer and sanitizers and lets it search for FUZZ_SECONDS; `make fuzz-smoke-NAME` does one.
# To add a target, write the file and the seeds and copy a block below. There is no other place to edit.
FUZZ_SECONDS = 20
FUZZ_CC = clang
FUZZ_SMOKE_TARGETS =
# $(FUZZ_SMOKE) NAME "sources under test" "libraries" $(FUZZ_COMPILE)
FUZZ_SMOKE = srcdir=$(srcdir) FUZZ_SECONDS=$(FUZZ_SECONDS) sh $(srcdir)/tests/fuzz/smoke.sh
FUZZ_COMPILE = $(FUZZ_CC) -std=gnu11 -O1 -g $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) $(CPPFLAGS)
EXTRA_DIST += tests/fuzz/smoke.sh

check_PROGRAMS += tests/fuzz/fuzz_conf
tests_fuzz_fuzz_conf_SOURCES = tests/fuzz/fuzz_conf.c tests/fuzz/replay.c
tests_fuzz_fuzz_conf_LDADD = libconf.a libbase.a $(YAML_LIBS) $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/conf
FUZZ_SMOKE_TARGETS += fuzz-smoke-conf
fuzz-smoke-conf:
	$(FUZZ_SMOKE) conf "$(libconf_a_SOURCES) $(libbase_a_SOURCES)" "$(YAML_LIBS) $(BASE_LIBS)" $(FUZZ_COMPILE)

check_PROGRAMS += tests/fuzz/fuzz_http_body
tests_fuzz_fuzz_http_body_SOURCES = tests/fuzz/fuzz_http_body.c tests/fuzz/replay.c
tests_fuzz_fuzz_http_body_LDADD = libhttp.a libbase.a $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/http_body
FUZZ_SMOKE_TARGETS += fuzz-smoke-http_body
fuzz-smoke-http_body:
	$(FUZZ_SMOKE) http_body "$(libhttp_a_SOURCES) $(libbase_a_SOURCES)" "$(LIBEVENT_LIBS) $(BASE_LIBS)" $(FUZZ_COMPILE)

check_PROGRAMS += tests/fuzz/fuzz_http_head
tests_fuzz_fuzz_http_head_SOURCES = tests/fuzz/fuzz_http_head.c tests/fuzz/replay.c
tests_fuzz_fuzz_http_head_LDADD = libhttp.a libbase.a $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/http_head
FUZZ_SMOKE_TARGETS += fuzz-smoke-http_head
fuzz-smoke-http_head:
	$(FUZZ_SMOKE) http_head "$(libhttp_a_SOURCES) $(libbase_a_SOURCES)" "$(LIBEVENT_LIBS) $(BASE_LIBS)" $(FUZZ_COMPILE)

check_PROGRAMS += tests/fuzz/fuzz_json
tests_fuzz_fuzz_json_SOURCES = tests/fuzz/fuzz_json.c tests/fuzz/replay.c
tests_fuzz_fuzz_json_LDADD = libbase.a $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/json
FUZZ_SMOKE_TARGETS += fuzz-smoke-json
fuzz-smoke-json:
	$(FUZZ_SMOKE) json "$(libbase_a_SOURCES)" "$(BASE_LIBS)" $(FUZZ_COMPILE)

check_PROGRAMS += tests/fuzz/fuzz_region_file
tests_fuzz_fuzz_region_file_SOURCES = tests/fuzz/fuzz_region_file.c tests/fuzz/replay.c
tests_fuzz_fuzz_region_file_LDADD = libshm.a libbase.a $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/region_file
FUZZ_SMOKE_TARGETS += fuzz-smoke-region_file
fuzz-smoke-region_file:
	$(FUZZ_SMOKE) region_file "$(libshm_a_SOURCES) $(libbase_a_SOURCES)" "$(BASE_LIBS)" $(FUZZ_COMPILE)

check_PROGRAMS += tests/fuzz/fuzz_sse
tests_fuzz_fuzz_sse_SOURCES = tests/fuzz/fuzz_sse.c tests/fuzz/replay.c
tests_fuzz_fuzz_sse_LDADD = libbase.a $(BASE_LIBS)
EXTRA_DIST += tests/fuzz/corpus/sse
FUZZ_SMOKE_TARGETS += fuzz-smoke-sse
fuzz-smoke-sse:
	$(FUZZ_SMOKE) sse "$(libbase_a_SOURCES)" "$(BASE_LIBS)" $(FUZZ_COMPILE)

fuzz-smoke: $(FUZZ_SMOKE_TARGETS)
.PHONY: fuzz-smoke $(FUZZ_SMOKE_TARGETS)
