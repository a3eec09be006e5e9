# Layer api. Files in alphabetical order.
noinst_LIBRARIES += libapi.a
libapi_a_SOURCES =
noinst_HEADERS +=
