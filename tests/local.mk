# Tests. Unit tests mirror src/; black-box tests and fuzz targets have their own lists.
UNIT_LIBS = $(CHECK_LIBS)
include $(top_srcdir)/tests/unit/base/local.mk
include $(top_srcdir)/tests/unit/shm/local.mk
include $(top_srcdir)/tests/unit/conf/local.mk
include $(top_srcdir)/tests/unit/watch/local.mk
include $(top_srcdir)/tests/unit/http/local.mk
include $(top_srcdir)/tests/unit/upstream/local.mk
include $(top_srcdir)/tests/unit/gateway/local.mk
include $(top_srcdir)/tests/unit/api/local.mk
include $(top_srcdir)/tests/unit/proc/local.mk
include $(top_srcdir)/tests/fuzz/local.mk

noinst_HEADERS += tests/unit/fake_timers.h tests/unit/still_clock.h tests/unit/unit.h
check_SCRIPTS += tests/layers.sh
EXTRA_DIST += tests/layers.sh
TEST_EXTENSIONS = .sh

# Directories: a new black-box test is distributed without being named here.
EXTRA_DIST += tests/bench tests/blackbox tests/browser tests/package tests/prometheus tests/sdk tests/stress
dist-hook:
	find $(distdir) '(' -name __pycache__ -o -name node_modules ')' -prune -exec rm -rf {} +
	rm -f $(distdir)/doc/man/*.[58]

# Real daemons of this build, driven by pytest.
if FAILPOINTS
BLACKBOX_FAILPOINTS = 1
endif
check-blackbox: all
	cd $(srcdir) && FAILPOINTS=$(BLACKBOX_FAILPOINTS) OPTIROUTED=$(abs_top_builddir)/src/optirouted \
	MOCKLLM=$(abs_top_builddir)/tests/mockllm BUILDDIR=$(abs_top_builddir) SRCDIR=$(abs_top_srcdir) \
	PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/blackbox

# Half an hour under load, or SOAK_SECONDS: nothing grows, leaks, or gets out of step.
soak: all
	OPTIROUTED=$(abs_top_builddir)/src/optirouted MOCKLLM=$(abs_top_builddir)/tests/mockllm \
	BUILDDIR=$(abs_top_builddir) $(srcdir)/tests/stress/soak.sh $${SOAK_SECONDS:-1800}

# Builds of their own, in build-test/ of the source tree.
check-asan:
	$(srcdir)/contrib/test.sh asan
check-tsan:
	$(srcdir)/contrib/test.sh tsan
check-sdk:
	$(srcdir)/contrib/test.sh sdk
check-browser:
	$(srcdir)/contrib/test.sh browser
check-prometheus:
	$(srcdir)/contrib/test.sh prometheus

lint:
	$(srcdir)/contrib/lint.sh
format-check:
	$(srcdir)/contrib/lint.sh format
format:
	$(srcdir)/contrib/lint.sh fix

# Cached and proxied answers against nginx, now and on this machine.
bench: all
	$(srcdir)/tests/bench/bench.sh $(abs_top_builddir)/src/optirouted \
	    $(abs_top_builddir)/tests/mockllm bench.json
CLEANFILES += bench.json
# What a thousand requests in flight cost, in memory and in others' latency.
bench-inflight: all
	/usr/bin/python3 -B $(srcdir)/tests/bench/inflight.py $(abs_top_builddir)/src/optirouted \
	    $(abs_top_builddir)/tests/mockllm
# Many streams beside a direct run; idle connections and open streams in memory; others beside large
# bodies.
BENCH_TOOLS = $(abs_top_builddir)/src/optirouted $(abs_top_builddir)/tests/mockllm \
	$(abs_top_builddir)/tests/benchload
bench-streams: all
	/usr/bin/python3 -B $(srcdir)/tests/bench/streams.py $(BENCH_TOOLS) bench-streams.json
bench-idle: all
	/usr/bin/python3 -B $(srcdir)/tests/bench/idle.py $(BENCH_TOOLS) bench-idle.json
bench-bodies: all
	/usr/bin/python3 -B $(srcdir)/tests/bench/bodies.py $(BENCH_TOOLS) bench-bodies.json
CLEANFILES += bench-streams.json bench-idle.json bench-bodies.json

.PHONY: check-blackbox soak check-asan check-tsan check-sdk check-browser check-prometheus lint \
	format-check format bench bench-inflight \
	bench-streams bench-idle bench-bodies

# Names and a wall clock for the black-box tests, preloaded into a daemon.
noinst_DATA += tests/fakehost.so
tests/fakehost.so: tests/fakehost.c
	$(AM_V_CCLD)$(MKDIR_P) tests && $(CC) $(CFLAGS) $(WARNING_CFLAGS) -shared -fPIC -o $@ $(srcdir)/tests/fakehost.c
EXTRA_DIST += tests/fakehost.c
CLEANFILES += tests/fakehost.so

# A scripted upstream for the black-box tests and benchmarks; built with everything, never installed. Its
# sources cannot stand in tests/mockllm/, which is the program.
noinst_PROGRAMS += tests/mockllm
tests_mockllm_SOURCES = \
	tests/mock/admin.c \
	tests/mock/answer.c \
	tests/mock/body.c \
	tests/mock/completion.c \
	tests/mock/conn.c \
	tests/mock/dialect.c \
	tests/mock/events.c \
	tests/mock/events_named.c \
	tests/mock/events_openai.c \
	tests/mock/gzip.c \
	tests/mock/listen.c \
	tests/mock/main.c \
	tests/mock/models.c \
	tests/mock/orders.c \
	tests/mock/request.c \
	tests/mock/stream.c
noinst_HEADERS += tests/mock/events.h tests/mock/mock.h tests/mock/orders.h
tests_mockllm_LDADD = libhttp.a libbase.a $(LIBEVENT_LIBS) $(OPENSSL_LIBS) $(BASE_LIBS)

# The client of the benchmarks (tests/bench/*.py); built with everything, never installed.
noinst_PROGRAMS += tests/benchload
tests_benchload_SOURCES = \
	tests/load/idle.c \
	tests/load/main.c \
	tests/load/peer.c \
	tests/load/probe.c \
	tests/load/streams.c \
	tests/load/upload.c
noinst_HEADERS += tests/load/load.h
tests_benchload_LDADD = libhttp.a libbase.a $(LIBEVENT_LIBS) $(OPENSSL_LIBS) $(BASE_LIBS)
