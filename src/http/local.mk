# Layer http. Files in alphabetical order.
noinst_LIBRARIES += libhttp.a
libhttp_a_SOURCES =
noinst_HEADERS +=
