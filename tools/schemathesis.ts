import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/*
 * `npm run schemathesis`: a server of its own on loopback, and schemathesis (`pip install schemathesis`) that makes requests of
 * /openapi.json, valid ones and broken ones, and holds every answer to it. More arguments are schemathesis' own, as `--max-examples 200`.
 * Without schemathesis it says so, and ends with 3.
 */

const NOT_PLAYED = 3;
/** A run takes some minutes; a hang is none. */
const MINUTES_MAX = 20;

/** Waits are short, so that one caller held up is not taken for a hang. */
const CONFIG = `
listen: { api: none, grpc: none, health: none, admin: "127.0.0.1:0", proxy: "127.0.0.1:0" }
store: memory
groups:
  slots: { limits: [ { name: one, concurrency: 3 } ], ttl: { max: 1s, default: 0s } }
  llm: { limits: [ { name: rpm, rate: 100/1s }, { name: tpm, unit: tokens, rate: 1000/1s } ], ttl: { max: 1s, default: 0s } }
backends: { erp: { urls: [ "http://127.0.0.1:1" ] } }
routes: [ { name: later, match: { path: /later/* }, backend: erp, group: llm, mode: deferred } ]
`;

/**
 * What is held: no 5xx, statuses, types, fields and bodies as described, broken requests refused. Not that every request which the
 * schema allows is taken: bounds that hang on the group, and fields that exclude each other, are in the descriptions only.
 */
const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'negative_data_rejection',
  'unsupported_method',
];

async function main(): Promise<number> {
  if (spawnSync('schemathesis', ['--version']).status !== 0) {
    process.stdout.write('NOT PLAYED: schemathesis is not installed (pip install schemathesis)\n');
    return NOT_PLAYED;
  }
  const folder = mkdtempSync(join(tmpdir(), 'sluice-schemathesis-'));
  writeFileSync(join(folder, 'sluice.yaml'), CONFIG);
  const server = spawn(process.execPath, ['src/main.ts', 'serve', '--config', join(folder, 'sluice.yaml')], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    let admin = '';
    for await (const line of createInterface({ input: server.stdout })) {
      const { event, admin: address } = JSON.parse(line) as { readonly event: string; readonly admin?: string };
      if (event !== 'serving') continue;
      admin = address ?? '';
      break;
    }
    server.stdout.resume();
    if (admin === '') throw new Error('the server ended before it served');
    const args = [
      'run',
      `http://${admin}/openapi.json`,
      '--no-color',
      '--header',
      'Sluice-Operator: 1',
      '--phases',
      'examples,coverage,fuzzing',
      '--checks',
      CHECKS.join(','),
      '--suppress-health-check',
      'all',
    ];
    const { status } = spawnSync('schemathesis', [...args, ...process.argv.slice(2)], { stdio: 'inherit', timeout: MINUTES_MAX * 60_000 });
    return status ?? 1;
  } finally {
    if (server.exitCode === null) {
      server.kill('SIGKILL');
      await once(server, 'exit');
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
