# Layer upstream. Files in alphabetical order.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES =
noinst_HEADERS +=
