# Unit tests of layer upstream, one program per module.
UPSTREAM_TEST_LIBS = libupstream.a libwatch.a libconf.a libshm.a libbase.a $(UPSTREAM_LIBS) \
	$(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
check_PROGRAMS += \
	tests/unit/upstream/test_compose \
	tests/unit/upstream/test_dialects \
	tests/unit/upstream/test_dialects_ask \
	tests/unit/upstream/test_fetch \
	tests/unit/upstream/test_fetch_lookup \
	tests/unit/upstream/test_fetch_stream \
	tests/unit/upstream/test_forms \
	tests/unit/upstream/test_forms_replay \
	tests/unit/upstream/test_merge \
	tests/unit/upstream/test_outcome \
	tests/unit/upstream/test_prov_simulated \
	tests/unit/upstream/test_translate_answers \
	tests/unit/upstream/test_translate_to_chat \
	tests/unit/upstream/test_translate_to_messages
tests_unit_upstream_test_compose_SOURCES = tests/unit/upstream/test_compose.c
tests_unit_upstream_test_compose_LDADD = $(UPSTREAM_TEST_LIBS)
# Golden answers are held against the prices too, so this one needs the layer above.
tests_unit_upstream_test_dialects_SOURCES = tests/unit/upstream/test_dialects.c
tests_unit_upstream_test_dialects_LDADD = libgateway.a $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_dialects_ask_SOURCES = tests/unit/upstream/test_dialects_ask.c
tests_unit_upstream_test_dialects_ask_LDADD = $(UPSTREAM_TEST_LIBS)
# On a real loop, whose timers are layer proc's.
tests_unit_upstream_test_fetch_SOURCES = tests/unit/upstream/test_fetch.c
tests_unit_upstream_test_fetch_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_upstream_test_fetch_lookup_SOURCES = tests/unit/upstream/test_fetch_lookup.c
tests_unit_upstream_test_fetch_lookup_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_upstream_test_fetch_stream_SOURCES = tests/unit/upstream/test_fetch_stream.c
tests_unit_upstream_test_fetch_stream_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_upstream_test_forms_SOURCES = tests/unit/upstream/test_forms.c
tests_unit_upstream_test_forms_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_forms_replay_SOURCES = tests/unit/upstream/test_forms_replay.c
tests_unit_upstream_test_forms_replay_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_merge_SOURCES = tests/unit/upstream/test_merge.c
tests_unit_upstream_test_merge_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_outcome_SOURCES = tests/unit/upstream/test_outcome.c
tests_unit_upstream_test_outcome_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_prov_simulated_SOURCES = tests/unit/upstream/test_prov_simulated.c
tests_unit_upstream_test_prov_simulated_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_translate_answers_SOURCES = tests/unit/upstream/test_translate_answers.c
tests_unit_upstream_test_translate_answers_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_translate_to_chat_SOURCES = tests/unit/upstream/test_translate_to_chat.c
tests_unit_upstream_test_translate_to_chat_LDADD = $(UPSTREAM_TEST_LIBS)
tests_unit_upstream_test_translate_to_messages_SOURCES = \
	tests/unit/upstream/test_translate_to_messages.c
tests_unit_upstream_test_translate_to_messages_LDADD = $(UPSTREAM_TEST_LIBS)
noinst_HEADERS += tests/unit/upstream/dialect_test.h tests/unit/upstream/fetch_test.h \
	tests/unit/upstream/translate_test.h tests/unit/upstream/upstream_test.h
