/**
 * What one would write first: the state of a limit in a JetStream subject, one compare-and-set per admission, and again after
 * a conflict. As kind to it as can be: no read before a write unless another replica wrote in between, asks of one group one
 * after the other, so that a process never conflicts with itself. It promises nothing about callers, order or clocks.
 * `node bench/cluster/cas-server.ts PORT NATS_PORT RATE BURST`
 */
import { createServer } from 'node:http';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';

const [port, natsPort, rate, burst] = process.argv.slice(2).map(Number) as [number, number, number, number];
const STREAM = 'CAS';
const nats = await connect({ servers: `127.0.0.1:${natsPort}`, timeout: 5_000 });
const manager = await jetstreamManager(nats);
await manager.streams.add({ name: STREAM, subjects: ['cas.*'], max_msgs_per_subject: 1, allow_direct: true }).catch(() => {});
const stream = jetstream(nats);

/** What this process knows of a group; `tat` is GCRA's theoretical arrival time in milliseconds of the wall clock. */
interface Group {
  readonly subject: string;
  seq: number;
  tat: number;
  tail: Promise<void>;
}

const groups = new Map<string, Group>();

async function read(group: Group): Promise<void> {
  const stored = await manager.direct.getMessage(STREAM, { last_by_subj: group.subject }).catch(() => null);
  group.seq = stored?.seq ?? 0;
  group.tat = stored === null ? 0 : Number(stored.string());
}

async function admit(group: Group): Promise<void> {
  for (;;) {
    const now = Date.now();
    const wait = group.tat - (burst - 1) * (1_000 / rate) - now;
    if (wait > 0) {
      await new Promise((done) => void setTimeout(done, wait));
      continue;
    }
    const tat = Math.max(now, group.tat) + 1_000 / rate;
    try {
      const { seq } = await stream.publish(group.subject, String(tat), { expect: { lastSubjectSequence: group.seq }, retries: 1 });
      group.seq = seq;
      group.tat = tat;
      return;
    } catch {
      await read(group);
    }
  }
}

const server = createServer((request, response) => {
  const name = request.url?.split('/')[3] ?? '';
  let group = groups.get(name);
  if (group === undefined) {
    group = { subject: `cas.${name}`, seq: 0, tat: 0, tail: Promise.resolve() };
    groups.set(name, group);
  }
  const mine = group;
  group.tail = group.tail.then(async () => {
    await admit(mine);
    response.setHeader('content-type', 'application/json');
    response.end('{"permit":"01234567890123456789","waited":"0s"}');
  });
});
server.listen(port, '127.0.0.1');
