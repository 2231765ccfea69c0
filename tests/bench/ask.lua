-- wrk script: one POST, again and again. BENCH_PATH, BENCH_BODY and BENCH_KEY (may be empty) come from the environment.
-- The last line of the output is for tests/bench/run: requests, microseconds, failures by kind, latencies.

wrk.method = "POST"
wrk.path = os.getenv("BENCH_PATH")
wrk.body = os.getenv("BENCH_BODY")
wrk.headers["Content-Type"] = "application/json"
if os.getenv("BENCH_KEY") ~= "" then
    wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_KEY")
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format(
        "RESULT requests=%d us=%d status=%d connect=%d read=%d write=%d timeout=%d p50=%d p99=%d\n",
        summary.requests, summary.duration, e.status, e.connect, e.read, e.write, e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
