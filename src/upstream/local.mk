# Layer upstream. Files in alphabetical order.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	src/upstream/compose.c \
	src/upstream/compose.h \
	src/upstream/dialect.c \
	src/upstream/dialect.h \
	src/upstream/fetch.c \
	src/upstream/fetch.h \
	src/upstream/fetch_fault.c \
	src/upstream/fetch_lookup.c \
	src/upstream/fetch_private.h \
	src/upstream/fetch_site.c \
	src/upstream/fetcher.c \
	src/upstream/form.c \
	src/upstream/form_chat.c \
	src/upstream/form_messages.c \
	src/upstream/form_private.h \
	src/upstream/form_responses.c \
	src/upstream/merge.c \
	src/upstream/merge.h \
	src/upstream/outcome.c \
	src/upstream/prov_anthropic.c \
	src/upstream/prov_http.c \
	src/upstream/prov_http.h \
	src/upstream/prov_http_stream.c \
	src/upstream/prov_huggingface.c \
	src/upstream/prov_openai.c \
	src/upstream/prov_simulated.c \
	src/upstream/provider.c \
	src/upstream/translate.c \
	src/upstream/translate.h \
	src/upstream/translate_to_chat.c \
	src/upstream/translate_to_messages.c \
	src/upstream/translate_turns.c \
	src/upstream/upstream.c \
	src/upstream/upstream_private.h
noinst_HEADERS += \
	include/upstream/chat.h \
	include/upstream/form.h \
	include/upstream/outcome.h \
	include/upstream/prov_simulated.h \
	include/upstream/provider.h \
	include/upstream/upstream.h
# What a program that links it needs on top.
UPSTREAM_LIBS = $(LIBCURL_LIBS) $(LIBEVENT_LIBS)
