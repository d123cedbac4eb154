/**
 * Holds many callers over HTTP, one connection each, and writes when each asked and was answered: pairs of doubles, microseconds
 * of CLOCK_MONOTONIC, in the order of the answers. Each asks again as soon as it was answered, until the time is over.
 * `node bench/api/holder-http.ts PORT PATH WAITERS SECONDS FILE`; SECONDS 0: asks once and holds until SIGTERM.
 */
import { createConnection, type Socket } from 'node:net';
import { Stamps, stamp } from './stamps.ts';

const [port = '', path = '', waiters = '', seconds = '', file = ''] = process.argv.slice(2);
const request = Buffer.from(`POST ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n`);
const stamps = new Stamps(file);
let open = 0;
let over = false;

function caller(): Socket {
  const socket = createConnection(Number(port), '127.0.0.1');
  socket.setNoDelay(true);
  let asked = 0;
  const ask = (): void => {
    asked = stamp();
    socket.write(request);
  };
  socket.on('connect', () => {
    ask();
    if (++open === Number(waiters)) process.send?.('held');
  });
  let head = '';
  socket.on('data', (chunk: Buffer) => {
    const at = stamp();
    head += chunk.toString('latin1');
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    // The length is asked for only where an answer came in two parts.
    const length = Number(/content-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (head.length < end + 4 + length) return;
    if (!head.startsWith('HTTP/1.1 200')) stamps.refused(head.slice(0, 200));
    else stamps.add(asked, at);
    head = '';
    if (!over) ask();
  });
  socket.on('error', (error) => stamps.refused(error.message));
  return socket;
}

const sockets: Socket[] = [];
// Not all at once: the queue of a listening socket is bounded.
for (let at = 0; at < Number(waiters); at++) {
  sockets.push(caller());
  if (at % 200 === 199) await new Promise((done) => void setTimeout(done, 20));
}
if (Number(seconds) > 0) {
  setTimeout(() => {
    over = true;
    stamps.write();
    process.exit(0);
  }, Number(seconds) * 1_000);
}
