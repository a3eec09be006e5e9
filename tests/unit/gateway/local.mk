# Unit tests of layer gateway, one program per module.
GATEWAY_TEST_LIBS = libgateway.a libupstream.a libwatch.a libconf.a libshm.a libbase.a \
	$(UPSTREAM_LIBS) $(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += \
	tests/unit/gateway/test_breaker \
	tests/unit/gateway/test_cache_key \
	tests/unit/gateway/test_cost \
	tests/unit/gateway/test_entry \
	tests/unit/gateway/test_flight \
	tests/unit/gateway/test_flow \
	tests/unit/gateway/test_flow_attempt \
	tests/unit/gateway/test_flow_key \
	tests/unit/gateway/test_flow_replay \
	tests/unit/gateway/test_flow_stream \
	tests/unit/gateway/test_kept \
	tests/unit/gateway/test_retry \
	tests/unit/gateway/test_route \
	tests/unit/gateway/test_score
tests_unit_gateway_test_breaker_SOURCES = tests/unit/gateway/test_breaker.c
tests_unit_gateway_test_breaker_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_cache_key_SOURCES = tests/unit/gateway/test_cache_key.c
tests_unit_gateway_test_cache_key_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_cost_SOURCES = tests/unit/gateway/test_cost.c
tests_unit_gateway_test_cost_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_entry_SOURCES = tests/unit/gateway/test_entry.c
tests_unit_gateway_test_entry_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flight_SOURCES = tests/unit/gateway/test_flight.c
tests_unit_gateway_test_flight_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flow_SOURCES = tests/unit/gateway/test_flow.c
tests_unit_gateway_test_flow_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flow_attempt_SOURCES = tests/unit/gateway/test_flow_attempt.c
tests_unit_gateway_test_flow_attempt_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flow_key_SOURCES = tests/unit/gateway/test_flow_key.c
tests_unit_gateway_test_flow_key_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flow_replay_SOURCES = tests/unit/gateway/test_flow_replay.c
tests_unit_gateway_test_flow_replay_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_flow_stream_SOURCES = tests/unit/gateway/test_flow_stream.c
tests_unit_gateway_test_flow_stream_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_kept_SOURCES = tests/unit/gateway/test_kept.c
tests_unit_gateway_test_kept_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_retry_SOURCES = tests/unit/gateway/test_retry.c
tests_unit_gateway_test_retry_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_route_SOURCES = tests/unit/gateway/test_route.c
tests_unit_gateway_test_route_LDADD = $(GATEWAY_TEST_LIBS)
tests_unit_gateway_test_score_SOURCES = tests/unit/gateway/test_score.c
tests_unit_gateway_test_score_LDADD = libgateway.a libbase.a $(BASE_LIBS) $(UNIT_LIBS)
noinst_HEADERS += \
	tests/unit/gateway/flow_test.h \
	tests/unit/gateway/stream_test.h
