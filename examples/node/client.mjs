// A client of Sluice over gRPC, with @grpc/grpc-js and the protocol loaded as it runs: waits for a lease, keeps it alive
// while it works, gives it back.
//
//   node examples/node/client.mjs [ADDRESS] [GROUP] [SECONDS]        (127.0.0.1:9090 slots 3)

import { randomUUID } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [address = '127.0.0.1:9090', group = 'slots', seconds = '3'] = process.argv.slice(2);
const LEASE_MS = 10_000;

const proto = fileURLToPath(new URL('../../proto', import.meta.url));
const { sluice } = grpc.loadPackageDefinition(
  loader.loadSync('sluice/v1/admission.proto', { includeDirs: [proto], longs: String, enums: String, defaults: true }),
);

// A held call is silent for long: find out when the other side is gone.
const options = { 'grpc.keepalive_time_ms': 30_000, 'grpc.keepalive_timeout_ms': 10_000 };
const client = new sluice.v1.AdmissionService(address, grpc.credentials.createInsecure(), options);
const renew = promisify(client.Renew.bind(client));
const release = promisify(client.Release.bind(client));

/** Waits up to 30 s; Ctrl-C meanwhile gives the place up by its request id, and the call ends as cancelled. */
function acquire() {
  const ask = { group, ttl: { seconds: 30 }, lease: { seconds: LEASE_MS / 1000 }, holder: 'examples/node', requestId: randomUUID() };
  return new Promise((resolve, reject) => {
    const leave = async () => {
      await release({ group, requestId: ask.requestId }).catch(() => {});
      process.exit(130);
    };
    client.Acquire(ask, (error, permit) => {
      process.off('SIGINT', leave);
      if (error === null) resolve(permit);
      else if (error.code !== grpc.status.CANCELLED) reject(error);
    });
    process.once('SIGINT', leave);
  });
}

/** Renews at each third of the lease; the signal is aborted when it is lost. */
function keepAlive(permit) {
  const lost = new AbortController();
  let ends = Date.now() + LEASE_MS;
  const timer = setInterval(async () => {
    const sent = Date.now();
    try {
      await renew({ permit });
      ends = sent + LEASE_MS;
      console.log('renewed');
    } catch (error) {
      if (error.code === grpc.status.ABORTED || Date.now() >= ends) lost.abort(error);
    }
  }, LEASE_MS / 3);
  return { lost: lost.signal, stop: () => clearInterval(timer) };
}

const text = ({ seconds: whole, nanos }) => `${Number(whole) + nanos / 1e9} s`;

try {
  const { permit, fence, lease, waited } = await acquire();
  console.log(`admitted after ${text(waited)}: fence ${fence}, lease ${text(lease)}`);
  const kept = keepAlive(permit);
  // The work; give it `kept.lost`, so that it stops when the lease is lost.
  await new Promise((resolve) => {
    setTimeout(resolve, Number(seconds) * 1000);
    kept.lost.addEventListener('abort', resolve);
  });
  kept.stop();
  console.log(`released: ${(await release({ permit, outcome: 'OUTCOME_USED' })).ended}`);
  if (kept.lost.aborted) throw kept.lost.reason;
} catch (error) {
  console.error(error.details ?? error);
  process.exitCode = 1;
} finally {
  client.close();
}
