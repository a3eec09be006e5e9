# Layer proc: the daemon. Files in alphabetical order. All but main is a library for the unit tests,
# which link PROC_LIBS: every layer, for proc may include all.
noinst_LIBRARIES += libproc.a
libproc_a_SOURCES = \
	src/proc/accept.c \
	src/proc/boot.c \
	src/proc/boot_region.c \
	src/proc/capacity.c \
	src/proc/check.c \
	src/proc/child.c \
	src/proc/console.c \
	src/proc/control.c \
	src/proc/generation.c \
	src/proc/handover.c \
	src/proc/listen.c \
	src/proc/loop_timers.c \
	src/proc/master.c \
	src/proc/master_private.h \
	src/proc/metrics_worker.c \
	src/proc/notify.c \
	src/proc/options.c \
	src/proc/pidfile.c \
	src/proc/reap.c \
	src/proc/reload.c \
	src/proc/spawn.c \
	src/proc/successor.c \
	src/proc/system.c \
	src/proc/upgrade.c \
	src/proc/worker.c
sbin_PROGRAMS += src/optirouted
src_optirouted_SOURCES = src/proc/main.c
PROC_LIBS = libproc.a libapi.a libgateway.a libupstream.a libhttp.a libwatch.a libconf.a libshm.a \
	libbase.a $(UPSTREAM_LIBS) $(OPENSSL_LIBS) $(YAML_LIBS) $(BASE_LIBS)
src_optirouted_LDADD = $(PROC_LIBS)
noinst_HEADERS += \
	include/proc/accept.h \
	include/proc/capacity.h \
	include/proc/check.h \
	include/proc/child.h \
	include/proc/console.h \
	include/proc/control.h \
	include/proc/handover.h \
	include/proc/listen.h \
	include/proc/loop_timers.h \
	include/proc/master.h \
	include/proc/notify.h \
	include/proc/options.h \
	include/proc/pidfile.h \
	include/proc/spawn.h \
	include/proc/system.h \
	include/proc/worker.h
