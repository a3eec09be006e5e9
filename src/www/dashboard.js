// dashboard: the numbers, live.
"use strict";
