# Layer watch. Files in alphabetical order.
noinst_LIBRARIES += libwatch.a
libwatch_a_SOURCES = \
	src/watch/access_log.c \
	src/watch/carry.c \
	src/watch/catalogue.h \
	src/watch/labels.c \
	src/watch/metrics.c \
	src/watch/process_stats.c \
	src/watch/prometheus.c \
	src/watch/stats.c
noinst_HEADERS += \
	include/watch/access_log.h \
	include/watch/carry.h \
	include/watch/labels.h \
	include/watch/metrics.h \
	include/watch/metrics_table.h \
	include/watch/process_stats.h \
	include/watch/prometheus.h \
	include/watch/stats.h
