# Unit tests of layer proc, one program per module.
check_PROGRAMS += \
	tests/unit/proc/test_accept \
	tests/unit/proc/test_capacity \
	tests/unit/proc/test_handover \
	tests/unit/proc/test_listen \
	tests/unit/proc/test_loop_timers \
	tests/unit/proc/test_notify \
	tests/unit/proc/test_options \
	tests/unit/proc/test_pidfile \
	tests/unit/proc/test_spawn
tests_unit_proc_test_accept_SOURCES = tests/unit/proc/test_accept.c
tests_unit_proc_test_accept_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_capacity_SOURCES = tests/unit/proc/test_capacity.c
tests_unit_proc_test_capacity_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_handover_SOURCES = tests/unit/proc/test_handover.c
tests_unit_proc_test_handover_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_listen_SOURCES = tests/unit/proc/test_listen.c
tests_unit_proc_test_listen_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_loop_timers_SOURCES = tests/unit/proc/test_loop_timers.c
tests_unit_proc_test_loop_timers_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_notify_SOURCES = tests/unit/proc/test_notify.c
tests_unit_proc_test_notify_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_options_SOURCES = tests/unit/proc/test_options.c
tests_unit_proc_test_options_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_pidfile_SOURCES = tests/unit/proc/test_pidfile.c
tests_unit_proc_test_pidfile_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
tests_unit_proc_test_spawn_SOURCES = tests/unit/proc/test_spawn.c
tests_unit_proc_test_spawn_LDADD = $(PROC_LIBS) $(UNIT_LIBS)
