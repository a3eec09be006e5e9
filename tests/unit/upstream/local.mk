# Unit tests of layer upstream, one program per module.
UPSTREAM_TEST_LIBS = libupstream.a libwatch.a libconf.a libshm.a libbase.a $(UPSTREAM_LIBS) \
	$(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += \
	tests/unit/upstream/test_dialects \
	tests/unit/upstream/test_fetch \
	tests/unit/upstream/test_outcome \
	tests/unit/upstream/test_prov_simulated
# Golden answers are held against the prices too, so this one needs the layer above.
tests_unit_upstream_test_dialects_SOURCES = tests/unit/upstream/test_dialects.c
tests_unit_upstream_test_dialects_LDADD = libgateway.a $(UPSTREAM_TEST_LIBS)
# On a real loop, whose timers are layer proc's.
tests_unit_upstream_test_fetch_SOURCES = tests/unit/upstream/test_fetch.c
tests_unit_upstream_test_fetch_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_upstream_test_outcome_SOURCES = tests/unit/upstream/test_outcome.c
tests_unit_upstream_test_outcome_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_prov_simulated_SOURCES = tests/unit/upstream/test_prov_simulated.c
tests_unit_upstream_test_prov_simulated_LDADD = $(UPSTREAM_TEST_LIBS)
