// chat: the conversation.
"use strict";
