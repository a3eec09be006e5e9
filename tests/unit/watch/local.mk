# Unit tests of layer watch, one program per module.
WATCH_UNIT_LIBS = libwatch.a libshm.a libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_access_log
tests_unit_watch_test_access_log_SOURCES = tests/unit/watch/test_access_log.c
tests_unit_watch_test_access_log_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_carry
tests_unit_watch_test_carry_SOURCES = tests/unit/watch/test_carry.c
tests_unit_watch_test_carry_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_labels
tests_unit_watch_test_labels_SOURCES = tests/unit/watch/test_labels.c
tests_unit_watch_test_labels_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_metrics
tests_unit_watch_test_metrics_SOURCES = tests/unit/watch/test_metrics.c
tests_unit_watch_test_metrics_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_process_stats
tests_unit_watch_test_process_stats_SOURCES = tests/unit/watch/test_process_stats.c
tests_unit_watch_test_process_stats_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_prometheus
tests_unit_watch_test_prometheus_SOURCES = tests/unit/watch/test_prometheus.c
tests_unit_watch_test_prometheus_LDADD = $(WATCH_UNIT_LIBS)

check_PROGRAMS += tests/unit/watch/test_stats
tests_unit_watch_test_stats_SOURCES = tests/unit/watch/test_stats.c
tests_unit_watch_test_stats_LDADD = $(WATCH_UNIT_LIBS)
