# Layer conf. Files in alphabetical order.
noinst_LIBRARIES += libconf.a
libconf_a_SOURCES = \
	src/conf/conf.c \
	src/conf/conf_address.c \
	src/conf/conf_check.c \
	src/conf/conf_expand.c \
	src/conf/conf_file.c \
	src/conf/conf_manual.c \
	src/conf/conf_print.c \
	src/conf/conf_provider.c \
	src/conf/conf_read.c \
	src/conf/conf_regex.c \
	src/conf/conf_route.c \
	src/conf/conf_schema.c \
	src/conf/conf_secret.c \
	src/conf/conf_table.c \
	src/conf/conf_tree.c \
	src/conf/conf_value.c
noinst_HEADERS += \
	include/conf/conf.h \
	src/conf/conf_file.h \
	src/conf/conf_print.h \
	src/conf/conf_read.h \
	src/conf/conf_table.h \
	src/conf/conf_tree.h \
	src/conf/conf_value.h
EXTRA_DIST += \
	etc/optiroute-minimal.yaml \
	etc/optiroute.yaml
