/* live: the daemon's figures as they come, from /api/events.
 *
 * The browser comes back by itself when a stream ends (a reload of the daemon) or breaks. Not when it
 * is refused, and not when a connection is dead without a word: these are seen to here.
 */

const RETRY_MS = [1000, 2000, 4000, 8000, 15000];
const SILENT_MS = 10000; /* so long without a word: dead */
export const STALE_MS = 4000; /* so long: what is shown is old */

/* told(figures) for each event; heard(): ms since the last one. */
export function listen(told) {
    let source = null;
    let failures = 0;
    let last = performance.now();
    let waiting = 0;

    const open = () => {
        source?.close();
        waiting = 0;
        source = new EventSource("/api/events");
        source.addEventListener("stats", (event) => {
            last = performance.now();
            failures = 0;
            told(JSON.parse(event.data));
        });
        source.addEventListener("error", () => {
            if (source.readyState === EventSource.CLOSED) {
                again();
            }
        });
    };
    const again = () => {
        if (waiting === 0) {
            source.close();
            waiting = setTimeout(open, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
        }
    };
    const look = () => {
        if (performance.now() - last > SILENT_MS && source.readyState === EventSource.OPEN) {
            again();
        }
    };
    open();
    setInterval(look, 2000);
    return () => performance.now() - last;
}
