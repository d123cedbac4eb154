import { PassThrough } from 'node:stream';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningServer, serve } from '../../src/server/serve.ts';

/** A server in this process with its dashboard, callers that wait in it, and what its pages complained of. */
export interface DashboardRig {
  readonly admin: string;
  /** Asks for a permit and does not wait for the answer. */
  ask(group: string, fields: object): void;
  /** Asks for a permit and waits for the answer. */
  acquire(group: string, fields: object): Promise<Record<string, unknown>>;
  /** Reads an address of the API on admin. */
  read(path: string): Promise<Record<string, unknown>>;
  /** Sends a change to the API on admin. */
  change(method: string, path: string, body?: object): Promise<number>;
  /** Opens a page at a screen (`#/groups/slots`). */
  open(browser: Browser, hash: string, options?: BrowserContextOptions): Promise<Page>;
  /** What any page wrote to its console as an error, but for calls that the server refused. */
  readonly complaints: readonly string[];
  stop(): Promise<void>;
}

const LISTEN =
  'listen: { api: "127.0.0.1:0", grpc: none, health: none, admin: { address: "127.0.0.1:0"DASHBOARD } }\nhttp: { engine: node }\nstore: memory\ndrain: { delay: 0, grace: 0 }\n';

/** Starts a server with these groups (YAML), its dashboard at `path`. */
export async function startDashboard(groups: string, { path = '/', more = '' } = {}): Promise<DashboardRig> {
  const text = `${LISTEN.replace('DASHBOARD', `, dashboard: ${path}`)}${more}${groups}`;
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
  const running: RunningServer = await serve(loaded.config, {
    ...{ env: {}, clocks: { monotonic: process.hrtime.bigint, wall: Date.now, boot: 'test' } },
    ...{ logTo: new PassThrough().resume(), version: '1.2.3', nodeVersion: '24' },
  });
  const [api, admin] = [`http://${running.addresses['api']}`, `http://${running.addresses['admin']}`];
  const complaints: string[] = [];
  const waiting = new AbortController();
  const send = (base: string, method: string, at: string, body?: object): Promise<Response> =>
    fetch(`${base}/v1/groups/${at}`, {
      ...{ method, headers: { 'content-type': 'application/json', 'sluice-request': '1' }, signal: waiting.signal },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  return {
    admin,
    complaints,
    ask: (group, fields) => void send(api, 'POST', `${group}/acquire`, fields).catch(() => {}),
    acquire: async (group, fields) => (await (await send(api, 'POST', `${group}/acquire`, fields)).json()) as Record<string, unknown>,
    read: async (at) => (await (await fetch(`${admin}/${at}`)).json()) as Record<string, unknown>,
    change: async (method, at, body) => (await send(admin, method, at, body)).status,
    async open(browser, hash, options = {}) {
      const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
      const page = await context.newPage();
      page.on('pageerror', (error) => complaints.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) complaints.push(message.text());
      });
      await page.goto(`${admin}${path === '/' ? '' : path}/${hash}`);
      return page;
    },
    async stop() {
      waiting.abort();
      await running.drain(true);
    },
  };
}
