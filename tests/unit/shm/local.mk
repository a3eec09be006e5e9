# Unit tests of layer shm, one program per module.
SHM_UNIT_LIBS = libshm.a libbase.a $(BASE_LIBS) $(UNIT_LIBS)
noinst_HEADERS += \
	tests/unit/shm/kill_test.h \
	tests/unit/shm/shm_test.h \
	tests/unit/shm/store_hammer.h

check_PROGRAMS += tests/unit/shm/test_board
tests_unit_shm_test_board_SOURCES = tests/unit/shm/test_board.c
tests_unit_shm_test_board_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_counters
tests_unit_shm_test_counters_SOURCES = tests/unit/shm/test_counters.c
tests_unit_shm_test_counters_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_history
tests_unit_shm_test_history_SOURCES = tests/unit/shm/test_history.c
tests_unit_shm_test_history_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_lock
tests_unit_shm_test_lock_SOURCES = tests/unit/shm/test_lock.c
tests_unit_shm_test_lock_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_names
tests_unit_shm_test_names_SOURCES = tests/unit/shm/test_names.c
tests_unit_shm_test_names_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_region
tests_unit_shm_test_region_SOURCES = tests/unit/shm/test_region.c
tests_unit_shm_test_region_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_region_inherit
tests_unit_shm_test_region_inherit_SOURCES = tests/unit/shm/test_region_inherit.c
tests_unit_shm_test_region_inherit_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_store
tests_unit_shm_test_store_SOURCES = tests/unit/shm/test_store.c
tests_unit_shm_test_store_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_store_damage
tests_unit_shm_test_store_damage_SOURCES = tests/unit/shm/test_store_damage.c
tests_unit_shm_test_store_damage_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_store_procs
tests_unit_shm_test_store_procs_SOURCES = tests/unit/shm/test_store_procs.c
tests_unit_shm_test_store_procs_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_store_threads
tests_unit_shm_test_store_threads_SOURCES = tests/unit/shm/test_store_threads.c
tests_unit_shm_test_store_threads_LDADD = $(SHM_UNIT_LIBS)

check_PROGRAMS += tests/unit/shm/test_word
tests_unit_shm_test_word_SOURCES = tests/unit/shm/test_word.c
tests_unit_shm_test_word_LDADD = $(SHM_UNIT_LIBS)

# Compiles the layer once more with failpoints, so that it always runs; it brings its own
# failpoint_pass, so libbase.a's is not linked.
check_PROGRAMS += tests/unit/shm/test_store_kill
tests_unit_shm_test_store_kill_SOURCES = tests/unit/shm/test_store_kill.c $(SHM_SOURCES)
tests_unit_shm_test_store_kill_CPPFLAGS = $(AM_CPPFLAGS) -DENABLE_FAILPOINTS=1
tests_unit_shm_test_store_kill_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

# As test_store_kill: with failpoints of its own.
check_PROGRAMS += tests/unit/shm/test_store_stopped
tests_unit_shm_test_store_stopped_SOURCES = tests/unit/shm/test_store_stopped.c $(SHM_SOURCES)
tests_unit_shm_test_store_stopped_CPPFLAGS = $(AM_CPPFLAGS) -DENABLE_FAILPOINTS=1
tests_unit_shm_test_store_stopped_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

# With a clock and a wait of its own, so the lock alone is linked.
check_PROGRAMS += tests/unit/shm/test_lock_patience
tests_unit_shm_test_lock_patience_SOURCES = tests/unit/shm/test_lock_patience.c src/shm/lock.c
tests_unit_shm_test_lock_patience_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

# As test_store_kill: with failpoints of its own.
check_PROGRAMS += tests/unit/shm/test_region_file
tests_unit_shm_test_region_file_SOURCES = tests/unit/shm/test_region_file.c $(SHM_SOURCES)
tests_unit_shm_test_region_file_CPPFLAGS = $(AM_CPPFLAGS) -DENABLE_FAILPOINTS=1
tests_unit_shm_test_region_file_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

# As test_store_kill: with failpoints of its own.
check_PROGRAMS += tests/unit/shm/test_flight
tests_unit_shm_test_flight_SOURCES = tests/unit/shm/test_flight.c $(SHM_SOURCES)
tests_unit_shm_test_flight_CPPFLAGS = $(AM_CPPFLAGS) -DENABLE_FAILPOINTS=1
tests_unit_shm_test_flight_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)
