# Layer conf. Files in alphabetical order.
noinst_LIBRARIES += libconf.a
libconf_a_SOURCES =
noinst_HEADERS +=
