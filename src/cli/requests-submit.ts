import { readFile } from 'node:fs/promises';
import { millisOfInstant } from '../api/instant-text.ts';
import type { SubmitOptions } from '../client/client.ts';
import { toMillis } from '../client/duration.ts';
import type { CliContext } from './command.ts';
import { type RequestArguments, wholeFlag, wrongDurations } from './requests-flags.ts';

/** Flags of `sluice requests submit`. */
export const SUBMIT = {
  texts: [
    ...['route', 'group', 'key', 'class', 'host', 'method', 'body', 'body-file', 'idempotency-key', 'dedupe-id', 'not-before'],
    ...['deadline', 'timeout', 'retries', 'retry-delays', 'cost', 'callback', 'wait'],
  ],
  lists: ['header'],
  costs: true,
} as const;

/** The same for `--help`. */
export const SUBMIT_FLAGS = `  --route NAME         the deferred route that takes it; or --group GROUP, whose first route that it fits does (default: of all)
  --key KEY            partition of the group (default: what the route takes from the request); --class NAME, one of its classes
  --method POST        and --host HOST, as the backend is to see them
  --header 'Name: v'   may be repeated
  --body TEXT          or --body-file FILE, - for standard input
  --idempotency-key K  the same key and request again is the same ticket (default: one made by chance); or --dedupe-id ID
  --not-before TIME    RFC 3339, or from now on: 10m
  --deadline 1h        given up when not delivered by then; --timeout 30s, of one attempt
  --retries N          attempts in all; or --retry-delays 1s,10s,1m
  --cost N             in requests; --cost.UNIT N in another unit
  --callback URL       is called with the end
  --wait 30s           waits for the end, and shows it`;

/** Reads a request from flags; a text is what is wrong with them. */
export async function submitOptions(given: RequestArguments, world: CliContext): Promise<SubmitOptions | string> {
  const { text, positionals } = given;
  const [path, ...more] = positionals;
  if (path === undefined || more.length > 0) return 'name the path that the backend is to see, as in: sluice requests submit /orders';
  if (text('body') !== undefined && text('body-file') !== undefined) return 'give either --body or --body-file';
  if (text('retries') !== undefined && text('retry-delays') !== undefined) return 'give either --retries or --retry-delays';
  const wrong = wrongDurations(given, ['deadline', 'timeout', 'wait']);
  if (wrong !== undefined) return wrong;
  const [retries, costs, headers, notBefore] = [retriesOf(given), costsOf(given), headersOf(given.texts('header')), timeOf(text('not-before'))];
  for (const each of [retries, costs, headers, notBefore]) if (typeof each === 'string') return each;
  const body = await bodyOf(given, world);
  if (body instanceof Error) return body.message;
  return {
    ...{ path, method: text('method'), route: text('route'), group: text('group'), key: text('key'), class: text('class'), host: text('host') },
    ...{ idempotencyKey: text('idempotency-key'), dedupeId: text('dedupe-id'), deadline: text('deadline'), timeout: text('timeout') },
    callback: text('callback'),
    body,
    retries: retries as SubmitOptions['retries'],
    costs: costs as SubmitOptions['costs'],
    headers: headers as SubmitOptions['headers'],
    notBefore: notBefore as SubmitOptions['notBefore'],
  };
}

async function bodyOf({ text }: RequestArguments, world: CliContext): Promise<Uint8Array | string | undefined | Error> {
  const file = text('body-file');
  if (file === undefined) return text('body');
  if (file !== '-') return readFile(file).catch((cause: Error) => new Error(`--body-file: ${cause.message}`));
  const chunks: Buffer[] = [];
  for await (const chunk of world.stdin) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks);
}

function retriesOf({ text }: RequestArguments): SubmitOptions['retries'] | string {
  const [count, delays] = [text('retries'), text('retry-delays')];
  if (count !== undefined) return wholeFlag('retries', count, 1, 99_999);
  if (delays === undefined) return undefined;
  const list = delays.split(',');
  try {
    for (const delay of list) toMillis(delay);
    return list;
  } catch (error) {
    return `--retry-delays: ${(error as Error).message}`;
  }
}

function costsOf(given: RequestArguments): SubmitOptions['costs'] | string {
  const costs: Record<string, number> = {};
  for (const name of given.costNames) {
    const cost = wholeFlag(name, given.text(name) ?? '', 0, 999_999_999);
    if (typeof cost === 'string') return cost;
    costs[name === 'cost' ? 'requests' : name.slice(5)] = cost;
  }
  return Object.keys(costs).length === 0 ? undefined : costs;
}

function headersOf(lines: readonly string[]): SubmitOptions['headers'] | string {
  const headers: Record<string, string[]> = {};
  for (const line of lines) {
    const [, name, value] = /^([^:\s]+):(.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) return `--header ${JSON.stringify(line)} has to be written as 'Name: value'`;
    headers[name] = [...(headers[name] ?? []), value.trim()];
  }
  return lines.length === 0 ? undefined : headers;
}

function timeOf(text: string | undefined): Date | string | undefined {
  if (text === undefined) return undefined;
  const at = millisOfInstant(text);
  if (!Number.isNaN(at)) return new Date(at);
  try {
    return new Date(Date.now() + toMillis(text));
  } catch (error) {
    return `--not-before: ${(error as Error).message}, or a time as 2030-01-31T08:00:00Z`;
  }
}
