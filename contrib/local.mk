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
dist_doc_DATA = HACKING.md LICENSE NEWS.md README.md
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
