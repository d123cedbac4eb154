import { create, type DescMethod, fromBinary, type Message, toBinary } from '@bufbuild/protobuf';
import {
  type CallOptions,
  Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  AcquireRequestSchema,
  type AcquireResponse,
  AdmissionService,
  SessionRequestSchema,
  type SessionResponse,
  WatchRequestSchema,
} from '../../../src/gen/sluice/v1/admission_pb.ts';
import { DeferredService } from '../../../src/gen/sluice/v1/deferred_pb.ts';
import { grpcError } from '../../protocol/runners.ts';
import { startGrpc } from '../../protocol/servers.ts';

let started: Awaited<ReturnType<typeof startGrpc>>;
let client: Client;

beforeEach(async () => {
  started = await startGrpc();
  client = new Client(started.address, credentials.createInsecure());
});
afterEach(async () => {
  client.close();
  await started.stop();
});

const codec = (method: DescMethod) => ({
  path: `/${method.parent.typeName}/${method.name}`,
  write: (message: Message) => Buffer.from(toBinary(method.input, message)),
  read: (bytes: Buffer) => fromBinary(method.output, bytes),
});

function unary(
  method: DescMethod,
  message: Message,
  options: CallOptions = {},
  metadata = new Metadata(),
): { readonly call: ClientUnaryCall; readonly result: Promise<Message | ServiceError> } {
  const { path, write, read } = codec(method);
  let settle: (result: Message | ServiceError) => void = () => {};
  const result = new Promise<Message | ServiceError>((resolve) => {
    settle = resolve;
  });
  const call = client.makeUnaryRequest(path, write, read, message, metadata, options, (error, answer) => settle(error ?? (answer as Message)));
  return { call, result };
}

const acquire = (group: string, key = '', options: CallOptions = {}, metadata = new Metadata()) =>
  unary(AdmissionService.method.acquire, create(AcquireRequestSchema, { group, key }), options, metadata);

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

describe('gRPC', () => {
  it('a caller that cancels leaves at once, and the next in line is not passed over', async () => {
    await acquire('slots').result;
    const second = acquire('slots');
    await until(() => started.admission.waiting.length === 1);
    second.call.cancel();
    await until(() => started.admission.waiting.length === 0);
    expect((await second.result) as ServiceError).toMatchObject({ code: status.CANCELLED });
    expect(started.admission.everybody.map(({ state }) => state)).toEqual(['delivered', 'left']);
  });

  it('900 cancels at once leave the other waiters of that connection waiting, and spend nothing', async () => {
    const holder = (await acquire('slots').result) as AcquireResponse;
    const calls = Array.from({ length: 1000 }, () => acquire('slots'));
    await until(() => started.admission.waiting.length === 1000);
    for (const { call } of calls.slice(0, 900)) call.cancel();
    await until(() => started.admission.waiting.length <= 100);
    expect(started.admission.waiting.length).toBe(100);
    // The connection still carries answers: the rest go one after the other, each releasing for the next.
    let permit = holder.permit;
    for (const { result } of calls.slice(900)) {
      await started.admission.release({ caller: '', permit, disposition: 'used' });
      const got = await result;
      expect(got).not.toBeInstanceOf(Error);
      permit = (got as AcquireResponse).permit;
    }
    const states = started.admission.everybody.map(({ state }) => state);
    expect([states.filter((state) => state === 'left').length, states.filter((state) => state === 'delivered').length]).toEqual([900, 101]);
  });

  it('a permit given while its caller was leaving in the same turn goes back', async () => {
    await acquire('slots').result;
    const [a, b] = [acquire('slots', ''), acquire('slots', '')];
    await until(() => started.admission.waiting.length === 2);
    // Releasing on the very first leave would admit the second, whose cancel is on its way.
    const [first] = started.admission.waiting;
    if (first === undefined) throw new Error('nobody waits');
    const leave = first.cancel;
    first.cancel = () => {
      leave();
      for (const id of [...started.admission.leasesById.keys()]) void started.admission.release({ caller: '', permit: id, disposition: 'used' });
    };
    a.call.cancel();
    b.call.cancel();
    await until(() => started.admission.waiting.length === 0);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(started.admission.everybody.map(({ state }) => state)).toEqual(['delivered', 'left', 'left']);
  });

  it('answers `expired` before the deadline of the caller, with details', async () => {
    await acquire('slots').result;
    // Only the server is told: this client's own deadline would race with its answer.
    const metadata = new Metadata();
    metadata.set('grpc-timeout', '3000m');
    const error = grpcError((await acquire('slots', '', {}, metadata).result) as ServiceError);
    expect(error).toMatchObject({ ok: false, code: 'resource_exhausted', reason: 'EXPIRED', limit: 'slots', retry: true });
    expect(started.admission.everybody[1]?.ask.wait).toBeUndefined();
    expect(started.admission.everybody[1]?.ask.waitMax).toBeGreaterThan(0);
    expect(started.admission.everybody[1]?.ask.waitMax).toBeLessThanOrEqual(2_950_000);
  });

  it('a deadline nearer than the margin means now or not at all', async () => {
    await acquire('slots').result;
    const error = (await acquire('slots', '', { deadline: Date.now() + 45 }).result) as ServiceError;
    expect([status.RESOURCE_EXHAUSTED, status.DEADLINE_EXCEEDED]).toContain(error.code);
    for (const { ask } of started.admission.everybody.slice(1)) expect(ask.waitMax).toBe(0);
  });

  it('says when to ask again in a header, too', async () => {
    await acquire('spaced').result;
    const error = (await acquire('spaced').result) as ServiceError;
    expect(Number(error.metadata.get('retry-after-ms')[0])).toBeGreaterThan(3_590_000);
  });

  it('says of the deferred service that no route is deferred', async () => {
    const { submit } = DeferredService.method;
    const error = (await unary(submit, create(submit.input)).result) as ServiceError;
    expect(error).toMatchObject({ code: status.UNIMPLEMENTED, details: expect.stringContaining('mode: deferred') });
  });

  it('a fault is INTERNAL to the caller, and a throw is told once', async () => {
    started.admission.script = () => {
      throw new Error('broken');
    };
    // The test server rethrows faults, which grpc-js turns into UNKNOWN: nothing of it reaches the caller.
    const error = (await acquire('open').result) as ServiceError;
    expect(error.details).not.toContain('broken');
  });
});

describe('Watch over gRPC', () => {
  const watched = (group: string): ClientReadableStream<Message> => {
    const { path, write, read } = codec(AdmissionService.method.watch);
    return client.makeServerStreamRequest(path, write, read, create(WatchRequestSchema, { ask: { group } }));
  };

  it('shows the place, then the permit, and ends', async () => {
    const { permit } = (await acquire('slots').result) as AcquireResponse;
    const news: string[] = [];
    const stream = watched('slots');
    stream.on('data', (message) => {
      news.push(message.news.case);
      if (message.news.case === 'place') void started.admission.release({ caller: '', permit, disposition: 'used' });
    });
    await new Promise((resolve) => stream.on('end', resolve));
    expect(news).toEqual(['place', 'admitted']);
    await until(() => started.admission.everybody[1]?.state === 'delivered');
  });

  it('ends with the refusal as an error', async () => {
    const stream = watched('nobody');
    const error = await new Promise<ServiceError>((resolve) => stream.on('error', (caught) => resolve(caught as ServiceError)));
    expect(grpcError(error)).toMatchObject({ code: 'not_found', reason: 'UNKNOWN_GROUP' });
  });

  it('a watcher that cancels leaves', async () => {
    await acquire('slots').result;
    const stream = watched('slots');
    stream.on('error', () => {});
    await until(() => started.admission.waiting.length === 1);
    stream.cancel();
    await until(() => started.admission.everybody[1]?.state === 'left');
  });
});

describe('Session over gRPC', () => {
  const open = (): { stream: ClientDuplexStream<Message, Message>; got: SessionResponse[]; ask: (id: string, call: object) => void } => {
    const { path, write, read } = codec(AdmissionService.method.session);
    const stream = client.makeBidiStreamRequest(path, write, read);
    const got: SessionResponse[] = [];
    stream.on('data', (message) => got.push(message as SessionResponse));
    stream.on('error', () => {});
    const ask = (id: string, call: object): void =>
      void stream.write(create(SessionRequestSchema, { id, call } as Parameters<typeof create<typeof SessionRequestSchema>>[1]));
    return { stream, got, ask };
  };
  const shown = (got: readonly SessionResponse[]): string[] =>
    got.map(({ id, answer }) => `${id}:${answer.case}${answer.case === 'refused' ? `:${answer.value.reason}` : ''}`);

  it('carries many asks by their ids: queued, admitted, renewed, released, cancelled, refused', async () => {
    const { stream, got, ask } = open();
    ask('', { case: 'start', value: { session: 'mine' } });
    ask('a', { case: 'acquire', value: { group: 'slots' } });
    ask('b', { case: 'acquire', value: { group: 'slots' } });
    ask('b', { case: 'acquire', value: { group: 'slots' } });
    ask('c', { case: 'acquire', value: { group: 'slots' } });
    ask('c', { case: 'cancel', value: {} });
    ask('c', { case: 'cancel', value: {} });
    ask('d', { case: 'acquire', value: { group: 'nobody' } });
    ask('', { case: 'acquire', value: { group: 'open' } });
    // An id that was answered is free again.
    ask('a', { case: 'acquire', value: { group: 'open' } });
    await until(() => got.length === 10);
    expect(shown(got)).toEqual([
      ':started',
      'a:admitted',
      'b:queued',
      'b:refused:CONFLICT',
      'c:queued',
      'c:refused:CANCELLED',
      'c:refused:UNKNOWN_REQUEST',
      'd:refused:UNKNOWN_GROUP',
      ':refused:MALFORMED',
      'a:admitted',
    ]);
    const admitted = got[1]?.answer;
    const permit = admitted?.case === 'admitted' ? admitted.value.permit : '';
    ask('r', { case: 'renew', value: { permit } });
    ask('s', { case: 'release', value: { permit } });
    await until(() => got.length === 13);
    expect(shown(got.slice(10)).sort()).toEqual(['b:admitted', 'r:renewed', 's:released']);
    stream.end();
    await until(() => started.admission.endedSessions.length === 1);
    expect(started.admission.endedSessions).toEqual([{ session: 'mine', resume: 0 }]);
    expect(started.admission.leasesById.size).toBe(0);
  });

  it('gives up places when its stream is cut, and keeps leases for a session that resumes', async () => {
    const { stream, got, ask } = open();
    ask('', { case: 'start', value: { session: 'mine', resume: { seconds: 5n, nanos: 0 } } });
    ask('a', { case: 'acquire', value: { group: 'slots' } });
    await until(() => got.length === 2);
    stream.cancel();
    await until(() => started.admission.endedSessions.length === 1);
    const back = open();
    back.ask('again', { case: 'start', value: { session: 'mine' } });
    await until(() => back.got.length === 1);
    const answer = back.got[0]?.answer;
    expect(answer?.case === 'started' && answer.value.permits.map(({ permit }) => permit)).toEqual(['p1']);
    back.ask('b', { case: 'acquire', value: { group: 'slots' } });
    await until(() => started.admission.waiting.length === 1);
    back.stream.cancel();
    await until(() => started.admission.everybody[1]?.state === 'left');
  });
});

describe('a place in a session that can resume', () => {
  it('outlives its stream: admission decides when it goes', async () => {
    const { path, write, read } = codec(AdmissionService.method.session);
    const stream = client.makeBidiStreamRequest(path, write, read);
    stream.on('error', () => {});
    const got: Message[] = [];
    stream.on('data', (message) => got.push(message));
    const { permit } = (await acquire('slots').result) as AcquireResponse;
    stream.write(create(SessionRequestSchema, { call: { case: 'start', value: { session: 'mine', resume: { seconds: 5n, nanos: 0 } } } }));
    stream.write(create(SessionRequestSchema, { id: 'a', call: { case: 'acquire', value: { group: 'slots' } } }));
    await until(() => got.length === 2);
    stream.cancel();
    await until(() => started.admission.endedSessions.length === 1);
    expect(started.admission.waiting.length).toBe(1);
    await started.admission.release({ caller: '', permit, disposition: 'used' });
    expect(started.admission.everybody[1]?.state).toBe('delivered');
    expect(started.admission.resumeSession('', 'mine').length).toBe(1);
  });
});

describe('health and reflection', () => {
  it('says SERVING per service, and NOT_SERVING once it drains', async () => {
    const check = (service: string): Promise<number> =>
      new Promise((resolve, reject) => {
        const request = Buffer.concat([Buffer.from([0x0a, service.length]), Buffer.from(service)]);
        client.makeUnaryRequest(
          '/grpc.health.v1.Health/Check',
          (bytes: Buffer) => bytes,
          (bytes: Buffer) => bytes,
          request,
          (error, bytes) => (error === null ? resolve(bytes?.[1] ?? 0) : reject(error)),
        );
      });
    expect([await check(''), await check('sluice.v1.AdmissionService')]).toEqual([1, 1]);
    started.grpc.serving(false);
    expect(await check('sluice.v1.AdmissionService')).toBe(2);
  });

  it('drains at once although somebody watches health', async () => {
    const identity = (bytes: Buffer): Buffer => bytes;
    const stream = client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', identity, identity, Buffer.alloc(0));
    const seen: number[] = [];
    stream.on('data', (bytes: Buffer) => seen.push(bytes[1] ?? 0));
    stream.on('error', () => {});
    await until(() => seen.length === 1);
    const began = performance.now();
    await started.grpc.drain(60_000);
    expect(seen).toEqual([1, 2]);
    expect(performance.now() - began).toBeLessThan(50_000);
  });

  it.each(['v1', 'v1alpha'])('describes itself by reflection %s', async (version) => {
    const identity = (bytes: Buffer): Buffer => bytes;
    const stream = client.makeBidiStreamRequest(`/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`, identity, identity);
    const answered = new Promise<Buffer>((resolve, reject) => {
      stream.on('data', resolve);
      stream.on('error', reject);
    });
    const symbol = Buffer.from('sluice.v1.AdmissionService');
    stream.write(Buffer.concat([Buffer.from([0x22, symbol.length]), symbol]));
    const bytes = await answered;
    stream.end();
    expect(bytes.includes('sluice/v1/admission.proto')).toBe(true);
    expect(bytes.includes('google/protobuf/duration.proto')).toBe(true);
  });
});
