# Layer gateway. Files in alphabetical order.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES =
noinst_HEADERS +=
