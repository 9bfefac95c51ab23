// A thread of its own: the main one is busy with digests and encryption at times, and at 100 MB/s a program fills a
// small disk within half a second. It must import nothing of ours: ncc leaves it as the file that it is.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
const { program, directory, windowBytes } = workerData;
/** Between two looks: the sooner, the less room is left. */
const [leastMilliseconds, mostMilliseconds] = [4, 16];
const sleeper = new Int32Array(new SharedArrayBuffer(4));
/** What the archives take up: not their size, of which a part is given back. stat(2): blocks have 512 bytes. */
function takenBytes() {
    let bytes = 0;
    for (const name of readdirSync(directory)) {
        // The WAL is written by another process, which cannot be held back.
        if (/\.tar(\.\w+)?$/.test(name) && !name.startsWith('pg_wal.tar'))
            bytes += (statSync(join(directory, name), { throwIfNoEntry: false })?.blocks ?? 0) * 512;
    }
    return bytes;
}
/** False when the program has ended. */
function signal(name) {
    try {
        return process.kill(Atomics.load(program, 0), name);
    }
    catch (error) {
        if (error.code === 'ESRCH')
            return false;
        throw error;
    }
}
/** A program writes 1 GB/s at most: it needs a millisecond for each of these. */
const bytesPerMillisecond = 1e6;
function restMilliseconds(bytes) {
    const fillingMilliseconds = (windowBytes - bytes) / bytesPerMillisecond;
    return Math.min(Math.max(fillingMilliseconds, leastMilliseconds), mostMilliseconds);
}
let isHeld = false;
parentPort?.postMessage('ready');
// Until there is a program.
Atomics.wait(program, 0, 0);
for (let [goesOn, bytes] = [true, 0]; goesOn; Atomics.wait(sleeper, 0, 0, restMilliseconds(bytes))) {
    bytes = takenBytes();
    if (!isHeld && bytes > windowBytes) {
        goesOn = signal('SIGSTOP');
        isHeld = true;
        parentPort?.postMessage('held');
    }
    else if (isHeld && bytes <= windowBytes * 0.75) {
        goesOn = signal('SIGCONT');
        isHeld = false;
        parentPort?.postMessage('released');
    }
}
