# Layer shm. Files in alphabetical order.
noinst_LIBRARIES += libshm.a
SHM_SOURCES = \
	src/shm/board.c \
	src/shm/counters.c \
	src/shm/flight.c \
	src/shm/flight_layout.h \
	src/shm/history.c \
	src/shm/lock.c \
	src/shm/names.c \
	src/shm/region.c \
	src/shm/region_attach.c \
	src/shm/region_file.c \
	src/shm/region_inherit.c \
	src/shm/region_layout.h \
	src/shm/store.c \
	src/shm/store_layout.h \
	src/shm/store_log.c \
	src/shm/store_recover.c \
	src/shm/store_shard.c \
	src/shm/totals.c \
	src/shm/wake.c \
	src/shm/word.c
libshm_a_SOURCES = $(SHM_SOURCES)
noinst_HEADERS += \
	include/shm/board.h \
	include/shm/counters.h \
	include/shm/flight.h \
	include/shm/history.h \
	include/shm/lock.h \
	include/shm/names.h \
	include/shm/region.h \
	include/shm/store.h \
	include/shm/totals.h \
	include/shm/wake.h \
	include/shm/word.h
