# contrib: tools of operators and developers.
noinst_PROGRAMS += contrib/optiroute-score
contrib_optiroute_score_SOURCES = contrib/optiroute-score.c
contrib_optiroute_score_LDADD = libgateway.a libbase.a $(BASE_LIBS)
EXTRA_DIST += contrib/fit_score.py doc/routing.md
