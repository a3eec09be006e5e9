-- wrk: POSTs BODY to the URL of the command line, DEPTH requests at a time (1: no pipelining).
local depth = tonumber(os.getenv("DEPTH") or "1")

wrk.method = "POST"
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/json"

local requests

init = function(args)
    local one = wrk.format()
    requests = string.rep(one, depth)
end

request = function()
    return requests
end

-- One line for bench.py. What counts as failed: socket errors, and statuses of 400 and above.
done = function(summary, latency, _)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d\n", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout))
end
