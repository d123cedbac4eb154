/**
 * The backend of the forwarding benches: answers every request `MS` milliseconds after it came in whole, so many at once, the
 * others in their order. Written on sockets, so that it and the load fit on one processor.
 * `node bench/proxy/backend.ts PORT ANSWER_BYTES MS CONCURRENCY`
 */
import { createServer, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';

const [port = '', bytes = '', ms = '', concurrency = ''] = process.argv.slice(2);
const SERVICE_MS = Number(ms);
const AT_ONCE = Number(concurrency);
const HEAD_END = Buffer.from('\r\n\r\n');
const answer = Buffer.concat([
  Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nCache-Control: no-store\r\nContent-Length: ${bytes}\r\n\r\n`),
  Buffer.alloc(Number(bytes), 'y'),
]);

/** What is on its way in on one connection. */
interface Coming {
  head: Buffer | undefined;
  /** Of the body, still to come; undefined: the head is not whole. */
  left: number | undefined;
}

/** All take equally long, so who began first is done first: one timer for all. */
const served: { readonly socket: Socket; readonly at: number }[] = [];
const waiting: Socket[] = [];
let first = 0;
let firstWaiting = 0;
let armed = false;

function serve(socket: Socket): void {
  if (served.length - first >= AT_ONCE) return void waiting.push(socket);
  served.push({ socket, at: performance.now() + SERVICE_MS });
  arm();
}

function arm(): void {
  const next = served[first];
  if (armed || next === undefined) return;
  armed = true;
  setTimeout(ring, Math.max(1, Math.round(next.at - performance.now())));
}

function ring(): void {
  armed = false;
  // A timer of whole milliseconds rings up to half of one early.
  const now = performance.now() + 0.5;
  for (let next = served[first]; next !== undefined && next.at <= now; next = served[first]) {
    first++;
    if (next.socket.writable) next.socket.write(answer);
    const another = waiting[firstWaiting];
    if (another === undefined) continue;
    firstWaiting++;
    serve(another);
  }
  if (first > 4_096) {
    served.splice(0, first);
    first = 0;
  }
  if (firstWaiting > 4_096) {
    waiting.splice(0, firstWaiting);
    firstWaiting = 0;
  }
  arm();
}

function take(socket: Socket, coming: Coming, chunk: Buffer): void {
  let rest: Buffer = chunk;
  while (rest.length > 0) {
    if (coming.left === undefined) {
      const head: Buffer = coming.head === undefined ? rest : Buffer.concat([coming.head, rest]);
      const end = head.indexOf(HEAD_END);
      coming.head = end < 0 ? head : undefined;
      if (end < 0) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(head.toString('latin1', 0, end))?.[1];
      if (length === undefined) return void socket.end('HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      coming.left = Number(length);
      rest = head.subarray(end + HEAD_END.length);
    }
    const eaten = Math.min(coming.left, rest.length);
    coming.left -= eaten;
    rest = rest.subarray(eaten);
    if (coming.left > 0) return;
    coming.left = undefined;
    serve(socket);
  }
}

const server = createServer({ noDelay: true }, (socket) => {
  const coming: Coming = { head: undefined, left: undefined };
  socket.on('data', (chunk: Buffer) => take(socket, coming, chunk));
  socket.on('error', () => socket.destroy());
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4_096 });
