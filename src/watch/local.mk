# Layer watch. Files in alphabetical order.
noinst_LIBRARIES += libwatch.a
libwatch_a_SOURCES =
noinst_HEADERS +=
