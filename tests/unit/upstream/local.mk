# Unit tests of layer upstream, one program per module.
check_PROGRAMS += tests/unit/upstream/test_prov_simulated
tests_unit_upstream_test_prov_simulated_SOURCES = tests/unit/upstream/test_prov_simulated.c
tests_unit_upstream_test_prov_simulated_LDADD = libupstream.a libwatch.a libconf.a libshm.a \
	libbase.a $(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
