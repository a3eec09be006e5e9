# Layer base. Files in alphabetical order.
noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	src/base/arena.c \
	src/base/bytes.c \
	src/base/clock.c \
	src/base/failpoint.c \
	src/base/hash.c \
	src/base/json_canon.c \
	src/base/json_read.c \
	src/base/json_scan.h \
	src/base/json_validate.c \
	src/base/json_write.c \
	src/base/log.c \
	src/base/panic.c \
	src/base/slow_free.c \
	src/base/sse.c \
	src/base/text.c
noinst_HEADERS += \
	include/base/arena.h \
	include/base/bytes.h \
	include/base/clock.h \
	include/base/failpoint.h \
	include/base/hash.h \
	include/base/json_canon.h \
	include/base/json_read.h \
	include/base/json_write.h \
	include/base/log.h \
	include/base/panic.h \
	include/base/slow_free.h \
	include/base/sse.h \
	include/base/text.h \
	include/base/timers.h
