# Unit tests of layer base, one program per module.

check_PROGRAMS += tests/unit/base/test_arena
tests_unit_base_test_arena_SOURCES = tests/unit/base/test_arena.c
tests_unit_base_test_arena_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_bytes
tests_unit_base_test_bytes_SOURCES = tests/unit/base/test_bytes.c
tests_unit_base_test_bytes_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_failpoint
tests_unit_base_test_failpoint_SOURCES = tests/unit/base/test_failpoint.c
tests_unit_base_test_failpoint_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_hash
tests_unit_base_test_hash_SOURCES = tests/unit/base/test_hash.c
tests_unit_base_test_hash_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_log
tests_unit_base_test_log_SOURCES = tests/unit/base/test_log.c
tests_unit_base_test_log_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_panic
tests_unit_base_test_panic_SOURCES = tests/unit/base/test_panic.c
tests_unit_base_test_panic_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_slow_free
tests_unit_base_test_slow_free_SOURCES = tests/unit/base/test_slow_free.c
tests_unit_base_test_slow_free_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_sse
tests_unit_base_test_sse_SOURCES = tests/unit/base/test_sse.c
tests_unit_base_test_sse_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_text
tests_unit_base_test_text_SOURCES = tests/unit/base/test_text.c
tests_unit_base_test_text_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_json_canon
tests_unit_base_test_json_canon_SOURCES = tests/unit/base/test_json_canon.c
tests_unit_base_test_json_canon_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_json_read
tests_unit_base_test_json_read_SOURCES = tests/unit/base/test_json_read.c
tests_unit_base_test_json_read_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_json_validate
tests_unit_base_test_json_validate_SOURCES = tests/unit/base/test_json_validate.c
tests_unit_base_test_json_validate_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/unit/base/test_json_write
tests_unit_base_test_json_write_SOURCES = tests/unit/base/test_json_write.c
tests_unit_base_test_json_write_LDADD = libbase.a $(BASE_LIBS) $(UNIT_LIBS)
