# Layer gateway. Files in alphabetical order.
noinst_LIBRARIES += libgateway.a
libgateway_a_SOURCES = \
	src/gateway/breaker.c \
	src/gateway/cache_key.c \
	src/gateway/cost.c \
	src/gateway/entry.c \
	src/gateway/flight.c \
	src/gateway/flight_elsewhere.c \
	src/gateway/flight_failure.c \
	src/gateway/flight_share.c \
	src/gateway/flow.c \
	src/gateway/flow_attempt.c \
	src/gateway/flow_failure.c \
	src/gateway/flow_key.c \
	src/gateway/flow_money.c \
	src/gateway/flow_pool.c \
	src/gateway/flow_recent.c \
	src/gateway/flow_stream.c \
	src/gateway/gateway.c \
	src/gateway/gateway_private.h \
	src/gateway/kept.c \
	src/gateway/kept.h \
	src/gateway/retry.c \
	src/gateway/route.c \
	src/gateway/score.c \
	src/gateway/score_words.c \
	src/gateway/score_words.h
noinst_HEADERS += \
	include/gateway/breaker.h \
	include/gateway/cache_key.h \
	include/gateway/cost.h \
	include/gateway/entry.h \
	include/gateway/flow.h \
	include/gateway/gateway.h \
	include/gateway/retry.h \
	include/gateway/route.h \
	include/gateway/score.h
