# Unit tests of layer api, one program for all endpoints.
check_PROGRAMS += tests/unit/api/test_api
tests_unit_api_test_api_SOURCES = tests/unit/api/test_api.c
tests_unit_api_test_api_LDADD = libapi.a libgateway.a libupstream.a libhttp.a libwatch.a libconf.a \
	libshm.a libbase.a $(UPSTREAM_LIBS) $(OPENSSL_LIBS) $(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
