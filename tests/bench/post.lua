-- wrk: POSTs BODY to the URL of the command line, DEPTH requests at a time (1: no pipelining). CACHE
-- is the Cache-Control field, if there is to be one.
local depth = tonumber(os.getenv("DEPTH") or "1")

wrk.method = "POST"
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Cache-Control"] = os.getenv("CACHE")

local requests

init = function(args)
    local one = wrk.format()
    requests = string.rep(one, depth)
end

request = function()
    return requests
end

-- One line for bench.py: requests, microseconds, failed ones (socket errors, and statuses of 400 and
-- above), and the median and the 99th percentile of the latency in microseconds.
done = function(summary, latency, _)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d\n", summary.requests, summary.duration,
        e.connect + e.read + e.write + e.status + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
