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

EXTRA_DIST += .ci/run .clang-format .clang-tidy doc
