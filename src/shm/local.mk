# Layer shm. Files in alphabetical order.
noinst_LIBRARIES += libshm.a
libshm_a_SOURCES =
noinst_HEADERS +=
