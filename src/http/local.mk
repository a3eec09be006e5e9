# Layer http. Files in alphabetical order.
noinst_LIBRARIES += libhttp.a
libhttp_a_SOURCES = \
	src/http/http_above.c \
	src/http/http_body.c \
	src/http/http_chars.c \
	src/http/http_conn.c \
	src/http/http_input.c \
	src/http/http_output.c \
	src/http/http_parse.c \
	src/http/http_reply.c \
	src/http/http_rules.c \
	src/http/http_server.c \
	src/http/transport.c \
	src/http/transport_tls.c
noinst_HEADERS += \
	include/http/http_body.h \
	include/http/http_parse.h \
	include/http/http_server.h \
	include/http/transport.h \
	src/http/http_chars.h \
	src/http/http_conn.h \
	src/http/http_rules.h
