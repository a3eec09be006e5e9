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

noinst_HEADERS += tests/unit/fake_timers.h tests/unit/unit.h
check_SCRIPTS += tests/layers.sh
EXTRA_DIST += tests/layers.sh
TEST_EXTENSIONS = .sh
