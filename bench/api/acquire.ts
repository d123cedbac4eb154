/**
 * B1 and B2: server CPU for an acquire whose slot is free, beside the bare transport on the same engine and beside peers, in
 * the same run. `npm run bench -- acquire connect grpc`
 */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { toProto } from '../../src/api/duration.ts';
import { AcquireRequestSchema } from '../../src/gen/sluice/v1/admission_pb.ts';
import { type Paired, paired, type Target } from '../lib/paired.ts';
import { progress, sleep } from '../lib/pinned.ts';
import { startGubernator, startNginx } from './peers.ts';
import { type EngineName, freeGroups, nodeFor, startBare, startSluice } from './servers.ts';

/** How long and how often. */
export interface Effort {
  readonly rounds: number;
  readonly seconds: number;
  readonly warm: number;
}

const LUA = resolve('bench/api/acquire.lua');

function wrk(port: number, kind: string, groups: number): Target['load'] {
  return (seconds) => ['wrk', '-t1', '-c64', `-d${seconds}s`, '--latency', '-s', LUA, `http://127.0.0.1:${port}`, '--', kind, String(groups)];
}

/** gRPC unary over 8 connections with 16 calls each; one group, for h2load sends one body. */
function h2load(port: number, path: string, body: string): Target['load'] {
  const headers = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  return (seconds) => ['h2load', '-t1', '-c8', '-m16', '-D', String(seconds), '-d', body, ...headers, `http://127.0.0.1:${port}${path}`];
}

/** Plain HTTP or Connect JSON on one engine, hello of the same engine first; undefined: the engine is not installed. */
export async function acquireHttp(
  kind: 'rest' | 'json' | 'connect',
  engine: EngineName,
  effort: Effort & { readonly groups: number; readonly peers: boolean },
): Promise<readonly Paired[] | undefined> {
  if (nodeFor(engine) === undefined) return undefined;
  const { groups, peers } = effort;
  const sluice = await startSluice(engine, freeGroups(groups));
  // The horizon of the rates (1 s) has to pass first.
  await sleep(2_500);
  const answer = await bodyOf(sluice.http, kind);
  progress(`answer: ${answer}`);
  const hello = await startBare(`hello-${engine}`, answer.length);
  const targets: Target[] = [
    { name: `hello on ${engine}`, pids: [hello.process.pid], load: wrk(hello.port, kind, groups) },
    { name: `Sluice, ${kind} on ${engine}`, pids: [sluice.process.pid], load: wrk(sluice.http, kind, groups) },
  ];
  const stops = [sluice.stop, hello.process.stop];
  if (peers) {
    for (const peer of [await startNginx('free'), await startGubernator()]) {
      if (peer === undefined) continue;
      stops.push(peer.stop);
      targets.push({ name: peer.name, pids: peer.pids, load: wrk(peer.http, peer.kind, groups) });
    }
  }
  try {
    return await paired(targets, effort);
  } finally {
    for (const stop of stops) await stop();
  }
}

/** gRPC unary, bare grpc-js first. */
export async function acquireGrpc(effort: Effort, peers = false): Promise<readonly Paired[]> {
  const sluice = await startSluice('node', freeGroups(20));
  await sleep(2_500);
  const folder = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
  const body = join(folder, 'acquire.bin');
  writeFileSync(body, framed(toBinary(AcquireRequestSchema, create(AcquireRequestSchema, { group: 'g17', ttl: toProto(1_000_000) }))));
  const echo = await startBare('echo-grpc', 21);
  const codec = await startBare('echo-grpc-codec', 21);
  const path = '/sluice.v1.AdmissionService/Acquire';
  const targets: Target[] = [
    { name: 'bare grpc-js echo', pids: [echo.process.pid], load: h2load(echo.port, path, body) },
    { name: 'grpc-js echo with protobuf-es', pids: [codec.process.pid], load: h2load(codec.port, path, body) },
    { name: 'Sluice, gRPC', pids: [sluice.process.pid], load: h2load(sluice.grpc, path, body) },
  ];
  const stops = [sluice.stop, echo.process.stop, codec.process.stop];
  const gubernator = peers ? await startGubernator() : undefined;
  if (gubernator !== undefined) {
    const asked = join(folder, 'gubernator.bin');
    writeFileSync(asked, framed(gubernator.message));
    stops.push(gubernator.stop);
    targets.push({ name: gubernator.name, pids: gubernator.pids, load: h2load(gubernator.grpc, '/pb.gubernator.V1/GetRateLimits', asked) });
  }
  try {
    const before = await admitted(sluice.health);
    const rows = await paired(targets, effort);
    progress(`admitted over gRPC by its own count: ${(await admitted(sluice.health)) - before}`);
    return rows;
  } finally {
    for (const stop of stops) await stop();
  }
}

/** gRPC's length before a message. */
function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

async function bodyOf(port: number, kind: string): Promise<string> {
  const connect = kind === 'connect';
  const url = `http://127.0.0.1:${port}${connect ? '/sluice.v1.AdmissionService/Acquire' : '/v1/groups/g0/acquire'}`;
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: connect ? '{"group":"g0","ttl":"1s"}' : '{"ttl":"1s"}',
  });
  if (response.status !== 200) throw new Error(`The first acquire was answered ${response.status}: ${await response.text()}`);
  return response.text();
}

/** Permits given, by the server's own metrics. */
async function admitted(health: number): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${health}/metrics`)).text();
  return [...text.matchAll(/^sluice_admitted_total\{[^}]*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
}
