# contrib: tools of operators and developers, and what is installed beside the daemon.
noinst_PROGRAMS += contrib/optiroute-score
contrib_optiroute_score_SOURCES = contrib/optiroute-score.c
contrib_optiroute_score_LDADD = libgateway.a libbase.a $(BASE_LIBS)
EXTRA_DIST += \
	contrib/fit_score.py \
	contrib/lint.sh \
	contrib/load_answers.py \
	contrib/load_compare.py \
	contrib/load_outage.py \
	contrib/loadtest.sh \
	contrib/locustfile.py \
	contrib/make_prompts.py \
	contrib/packages.sh \
	contrib/quickstart.sh \
	contrib/replay.py \
	contrib/test.sh

# The examples never go where the daemon looks, so an installation cannot overwrite a configuration.
dist_doc_DATA = HACKING.md LICENSE NEWS.md README.md \
	doc/failures.md doc/logs.md doc/metrics.md doc/monitoring.md doc/providers.md doc/routing.md doc/sizing.md doc/upgrade.md
# For editors: what the configuration may hold.
dist_pkgdata_DATA = contrib/optiroute.schema.json
examplesdir = $(docdir)/examples
dist_examples_DATA = etc/optiroute-minimal.yaml etc/optiroute.yaml

# Rules and dashboard as doc/monitoring.md uses them.
prometheusdir = $(examplesdir)/prometheus
dist_prometheus_DATA = \
	contrib/prometheus/optiroute.alerts.yml \
	contrib/prometheus/optiroute.alerts_test.yml \
	contrib/prometheus/optiroute.rules.yml \
	contrib/prometheus/prometheus.yml
grafanadir = $(examplesdir)/grafana
dist_grafana_DATA = contrib/grafana/optiroute.json
grafana_dashboardsdir = $(grafanadir)/provisioning/dashboards
dist_grafana_dashboards_DATA = contrib/grafana/provisioning/dashboards/optiroute.yaml
grafana_datasourcesdir = $(grafanadir)/provisioning/datasources
dist_grafana_datasources_DATA = contrib/grafana/provisioning/datasources/optiroute.yaml

EXTRA_DIST += .ci/run .clang-format .clang-tidy doc

# The manual pages, from their templates and the daemon's own tables.
noinst_PROGRAMS += contrib/optiroute-manual
contrib_optiroute_manual_SOURCES = contrib/optiroute-manual.c
contrib_optiroute_manual_CPPFLAGS = $(AM_CPPFLAGS) -DPKGDATADIR='"$(pkgdatadir)"'
contrib_optiroute_manual_LDADD = libproc.a libconf.a libbase.a $(YAML_LIBS) $(BASE_LIBS)
nodist_man_MANS = doc/man/optirouted.8 doc/man/optiroute.yaml.5
CLEANFILES += $(nodist_man_MANS)
MAKE_MANUAL = $(AM_V_GEN)$(MKDIR_P) doc/man && contrib/optiroute-manual
doc/man/optirouted.8: doc/man/optirouted.8.in contrib/optiroute-manual
	$(MAKE_MANUAL) <$(srcdir)/doc/man/optirouted.8.in >$@.new && mv $@.new $@
doc/man/optiroute.yaml.5: doc/man/optiroute.yaml.5.in contrib/optiroute-manual
	$(MAKE_MANUAL) <$(srcdir)/doc/man/optiroute.yaml.5.in >$@.new && mv $@.new $@

# Units, where configure was told a place for them; what else a package needs is distributed.
contrib/systemd/optirouted.service: contrib/systemd/optirouted.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) contrib/systemd && sed -e 's|[@]sbindir[@]|$(sbindir)|g' \
	    -e 's|[@]sysconfdir[@]|$(sysconfdir)|g' $(srcdir)/contrib/systemd/optirouted.service.in >$@.new && mv $@.new $@
noinst_DATA += contrib/systemd/optirouted.service
CLEANFILES += contrib/systemd/optirouted.service
if SYSTEMD_UNITS
systemdsystemunit_DATA = contrib/systemd/optirouted.service contrib/systemd/optirouted.socket
endif
EXTRA_DIST += \
	.containerignore \
	contrib/container \
	contrib/debian \
	contrib/optiroute.logrotate \
	contrib/package.sh \
	contrib/systemd/optiroute.sysusers \
	contrib/systemd/optirouted.service.in \
	contrib/systemd/optirouted.socket
