import { Agent, request } from 'node:http';

/** How often an address that does not answer is asked again, in milliseconds; the reference client does not wait at all. */
const RETRY_MS = 20;

/** What a shard that queues needs. */
export interface QueueingOptions {
  readonly shard: number;
  /** Ports of loopback: tried in turn, as behind a balancer. */
  readonly ports: readonly number[];
  readonly signal?: AbortSignal;
  /** Told of each connection that ended without an answer. */
  readonly failed?: (code: string) => void;
}

/**
 * Queues as the reference client of twilight does: a GET, any answer means go, and a connection that fails is queued again.
 * Resolves with the status once it may go; false: it was stopped.
 */
export async function queued({ shard, ports, signal, failed = () => {} }: QueueingOptions): Promise<number | false> {
  for (let turn = shard; signal?.aborted !== true; turn++) {
    const port = ports[turn % ports.length] as number;
    const answer = await asked(port, shard, signal).catch((cause: NodeJS.ErrnoException) => cause);
    if (typeof answer === 'number') return answer;
    failed(answer.code ?? answer.message);
    if (answer.code === 'ECONNREFUSED') await new Promise((resolve) => void setTimeout(resolve, RETRY_MS));
  }
  return false;
}

function asked(port: number, shard: number, signal: AbortSignal | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    const agent = new Agent({ keepAlive: false });
    const sent = request({ host: '127.0.0.1', port, path: `/?shard=${shard}`, agent, signal }, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    sent.on('error', reject);
    sent.end();
  });
}
