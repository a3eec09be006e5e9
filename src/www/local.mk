# The pages, embedded into the daemon. A file that is added here is served below /static.
WWW_FILES = \
	src/www/answer.js \
	src/www/base.css \
	src/www/charts.js \
	src/www/chat.css \
	src/www/chat.js \
	src/www/choice.js \
	src/www/dashboard.css \
	src/www/dashboard.html \
	src/www/dashboard.js \
	src/www/dom.js \
	src/www/figures.js \
	src/www/icon.svg \
	src/www/index.html \
	src/www/live.js \
	src/www/markdown.js \
	src/www/money.js \
	src/www/prose.css \
	src/www/prose.js \
	src/www/session.js \
	src/www/stream.js \
	src/www/table.js \
	src/www/text.js \
	src/www/words.js
EXTRA_DIST += src/www/embed.sh $(WWW_FILES)

# Not below src: what is made is no source that lint should read.
nodist_libapi_a_SOURCES = www_data.c
CLEANFILES += www_data.c
if WWW
WWW_INPUTS = $(WWW_FILES) $(CHART_JS) $(MARKED_JS)
endif
www_data.c: src/www/embed.sh $(WWW_INPUTS) Makefile
	$(AM_V_GEN)www=$(top_srcdir)/src/www; set --; \
	if test -n "$(WWW_INPUTS)"; then \
	    set -- /=$$www/index.html /dashboard=$$www/dashboard.html /static/chart.js=$(CHART_JS) \
	        /static/marked.js=$(MARKED_JS); \
	    for file in $(WWW_FILES); do \
	        case $$file in *.html) ;; *) set -- "$$@" "/static/$${file##*/}=$(top_srcdir)/$$file" ;; esac; \
	    done; \
	fi; \
	$(SHELL) $$www/embed.sh "$$@" >$@.new && mv $@.new $@
