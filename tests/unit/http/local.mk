# Unit tests of layer http, one program per module.
HTTP_UNIT_LIBS = libhttp.a libbase.a $(LIBEVENT_LIBS) $(OPENSSL_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
noinst_HEADERS += tests/unit/http/http_harness.h

check_PROGRAMS += tests/unit/http/test_http_above
tests_unit_http_test_http_above_SOURCES = tests/unit/http/test_http_above.c
tests_unit_http_test_http_above_LDADD = $(HTTP_UNIT_LIBS)

check_PROGRAMS += tests/unit/http/test_http_body
tests_unit_http_test_http_body_SOURCES = tests/unit/http/test_http_body.c
tests_unit_http_test_http_body_LDADD = $(HTTP_UNIT_LIBS)

check_PROGRAMS += tests/unit/http/test_http_parse
tests_unit_http_test_http_parse_SOURCES = tests/unit/http/test_http_parse.c
tests_unit_http_test_http_parse_LDADD = $(HTTP_UNIT_LIBS)

check_PROGRAMS += tests/unit/http/test_http_server
tests_unit_http_test_http_server_SOURCES = tests/unit/http/test_http_server.c
tests_unit_http_test_http_server_LDADD = $(HTTP_UNIT_LIBS)

check_PROGRAMS += tests/unit/http/test_transport
tests_unit_http_test_transport_SOURCES = tests/unit/http/test_transport.c
tests_unit_http_test_transport_LDADD = $(HTTP_UNIT_LIBS)
