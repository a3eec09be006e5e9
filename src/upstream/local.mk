# Layer upstream. Files in alphabetical order.
noinst_LIBRARIES += libupstream.a
libupstream_a_SOURCES = \
	src/upstream/prov_simulated.c \
	src/upstream/provider.c
noinst_HEADERS += \
	include/upstream/chat.h \
	include/upstream/prov_simulated.h \
	include/upstream/provider.h
