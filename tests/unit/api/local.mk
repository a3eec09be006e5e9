# Unit tests of layer api: all endpoints in one program, and the keys of what they are asked.
API_TEST_LIBS = libapi.a libgateway.a libupstream.a libhttp.a libwatch.a libconf.a libshm.a \
	libbase.a $(UPSTREAM_LIBS) $(OPENSSL_LIBS) $(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += \
	tests/unit/api/test_api \
	tests/unit/api/test_api_ask \
	tests/unit/api/test_api_pages
tests_unit_api_test_api_SOURCES = tests/unit/api/test_api.c
tests_unit_api_test_api_LDADD = $(API_TEST_LIBS)
tests_unit_api_test_api_ask_SOURCES = tests/unit/api/test_api_ask.c
tests_unit_api_test_api_ask_LDADD = $(API_TEST_LIBS)
tests_unit_api_test_api_pages_SOURCES = tests/unit/api/test_api_pages.c
tests_unit_api_test_api_pages_LDADD = $(API_TEST_LIBS)
noinst_HEADERS += tests/unit/api/api_harness.h tests/unit/api/json_tree.h
