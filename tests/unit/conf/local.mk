# Unit tests of layer conf, one program per module.
CONF_TEST_LIBS = libconf.a libbase.a $(YAML_LIBS) $(BASE_LIBS) $(UNIT_LIBS)
noinst_HEADERS += tests/unit/conf/conf_unit.h

check_PROGRAMS += tests/unit/conf/test_conf
tests_unit_conf_test_conf_SOURCES = tests/unit/conf/test_conf.c
tests_unit_conf_test_conf_LDADD = $(CONF_TEST_LIBS)

check_PROGRAMS += tests/unit/conf/test_conf_print
tests_unit_conf_test_conf_print_SOURCES = tests/unit/conf/test_conf_print.c
tests_unit_conf_test_conf_print_LDADD = $(CONF_TEST_LIBS)

check_PROGRAMS += tests/unit/conf/test_conf_read
tests_unit_conf_test_conf_read_SOURCES = tests/unit/conf/test_conf_read.c
tests_unit_conf_test_conf_read_LDADD = $(CONF_TEST_LIBS)

check_PROGRAMS += tests/unit/conf/test_conf_schema
tests_unit_conf_test_conf_schema_SOURCES = tests/unit/conf/test_conf_schema.c
tests_unit_conf_test_conf_schema_LDADD = $(CONF_TEST_LIBS)

check_PROGRAMS += tests/unit/conf/test_conf_tree
tests_unit_conf_test_conf_tree_SOURCES = tests/unit/conf/test_conf_tree.c
tests_unit_conf_test_conf_tree_LDADD = $(CONF_TEST_LIBS)
