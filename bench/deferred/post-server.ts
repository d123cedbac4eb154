/**
 * `node post-server.ts PORT [REDIS_SOCKET]`: a minimal node:http server that reads a POST and answers 202 with a ticket; with a socket
 * of redis once BullMQ (found in the folder SLUICE_BULLMQ) has added it as a job.
 */
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';

interface BullQueue {
  add(name: string, data: unknown, options?: object): Promise<{ readonly id?: string }>;
}

const [, , port, socket] = process.argv;

function queueOf(path: string): BullQueue {
  const { Queue } = createRequire(join(process.env['SLUICE_BULLMQ'] ?? '', 'index.js'))('bullmq') as {
    Queue: new (name: string, options: object) => BullQueue;
  };
  return new Queue('bench', { connection: { path } });
}

const queue = socket === undefined ? undefined : queueOf(socket);
let next = 0;

createServer((request, response) => {
  const pieces: Buffer[] = [];
  request.on('data', (piece: Buffer) => pieces.push(piece));
  request.on('end', () => {
    const body = Buffer.concat(pieces);
    const added = queue?.add('job', { url: request.url, headers: request.headers, body: body.toString('latin1') }, { removeOnComplete: true });
    void Promise.resolve(added ?? { id: String(++next) }).then(({ id = '' }) => {
      const answer = JSON.stringify({ id });
      response.writeHead(202, { 'content-type': 'application/json', 'content-length': answer.length, location: `/${id}` }).end(answer);
    });
  });
}).listen(Number(port), '127.0.0.1');
