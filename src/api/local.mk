# Layer api. Files in alphabetical order.
noinst_LIBRARIES += libapi.a
libapi_a_SOURCES = \
	src/api/api.c \
	src/api/api_ask.c \
	src/api/api_chat.c \
	src/api/api_chat_answer.c \
	src/api/api_events.c \
	src/api/api_generate.c \
	src/api/api_generate_answer.c \
	src/api/api_health.c \
	src/api/api_models.c \
	src/api/api_private.h \
	src/api/api_reply.c \
	src/api/api_stats.c \
	src/api/api_www.c \
	src/api/stats_json.c \
	src/api/stats_json.h \
	src/api/stats_json_history.c \
	src/api/www.h
noinst_HEADERS += \
	include/api/api.h
