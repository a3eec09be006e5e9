# Layer upstream. Files in alphabetical order.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	src/upstream/dialect.c \
	src/upstream/dialect.h \
	src/upstream/fetch.c \
	src/upstream/fetch.h \
	src/upstream/fetch_fault.c \
	src/upstream/fetch_lookup.c \
	src/upstream/fetch_private.h \
	src/upstream/fetcher.c \
	src/upstream/outcome.c \
	src/upstream/prov_anthropic.c \
	src/upstream/prov_http.c \
	src/upstream/prov_huggingface.c \
	src/upstream/prov_openai.c \
	src/upstream/prov_simulated.c \
	src/upstream/provider.c \
	src/upstream/upstream.c \
	src/upstream/upstream_private.h
noinst_HEADERS += \
	include/upstream/chat.h \
	include/upstream/outcome.h \
	include/upstream/prov_simulated.h \
	include/upstream/provider.h \
	include/upstream/upstream.h
# What a program that links it needs on top.
UPSTREAM_LIBS = $(LIBCURL_LIBS) $(LIBEVENT_LIBS)
