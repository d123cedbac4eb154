import { SECOND } from '../core/time.ts';
import { type LimitsSource, LimitsUnavailable, type SessionStartLimit } from './session-limits.ts';

/** What asking Discord needs. */
export interface DiscordLimitsOptions {
  readonly url: string;
  /** With or without `Bot ` before it. */
  readonly token: string;
  /** Of this package, for `User-Agent`. */
  readonly version: string;
  /** An answer takes so long at most, in milliseconds. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 10_000;

/** An answer is some 300 bytes. */
const BYTES_MAX = 65_536;

const LIMIT_MAX = 2 ** 24 - 1;

/** Calls `GET /gateway/bot` of Discord's API, or of a server at `url` that answers alike. */
export function discordLimits({ url, token, version, timeoutMs = TIMEOUT_MS }: DiscordLimitsOptions): LimitsSource {
  const headers = {
    Authorization: token.startsWith('Bot ') ? token : `Bot ${token}`,
    'User-Agent': `DiscordBot (https://www.npmjs.com/package/sluice, ${version}) sluice`,
    Accept: 'application/json',
  };
  return async () => {
    const signal = AbortSignal.timeout(timeoutMs);
    const { origin, pathname } = new URL(url);
    const where = `${origin}${pathname}`;
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, { headers, redirect: 'manual', signal });
      text = await bodyOf(response);
    } catch (cause) {
      throw new LimitsUnavailable(signal.aborted ? `${where} did not answer within ${timeoutMs} ms` : `${where} cannot be reached`, { cause });
    }
    if (response.status === 401 || response.status === 403)
      throw new LimitsUnavailable(`${where} answered ${response.status}: the token is not accepted. Check DISCORD_TOKEN (gatewayQueue.token).`);
    if (response.status !== 200) throw new LimitsUnavailable(`${where} answered ${response.status}`, { retryAfter: retryAfterOf(response) });
    const limits = limitsIn(text);
    if (typeof limits === 'string') throw new LimitsUnavailable(`${where} answered ${limits}`);
    return limits;
  };
}

async function bodyOf(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let bytes = 0;
  for await (const piece of response.body ?? []) {
    bytes += piece.byteLength;
    if (bytes > BYTES_MAX) throw new Error(`an answer of more than ${BYTES_MAX} bytes`);
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString('utf8');
}

function retryAfterOf(response: Response): number | undefined {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return Number.isFinite(seconds) && seconds > 0 ? Math.ceil(seconds * SECOND) : undefined;
}

/** Numbers of a `session_start_limit`, with the least of each. */
const LEAST = { total: 1, remaining: 0, reset_after: 0, max_concurrency: 1 } as const;

/** Longest part of an unusable value that is shown, in characters. */
const SHOWN_MAX = 40;

/** The limits in an answer's body, or what it answered instead, to be read after "answered". */
export function limitsIn(text: string): SessionStartLimit | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return 'without a session_start_limit: it is not JSON';
  }
  const limit = field(parsed, 'session_start_limit');
  if (typeof limit !== 'object' || limit === null) return 'without a session_start_limit';
  for (const name of Object.keys(LEAST) as (keyof typeof LEAST)[]) {
    const wrong = faultOf(name, field(limit, name));
    if (wrong !== undefined) return wrong;
  }
  const { total, remaining, reset_after: resetAfter, max_concurrency: maxConcurrency } = limit as Readonly<Record<keyof typeof LEAST, number>>;
  return { total, remaining: Math.min(total, remaining), resetAfter: Math.ceil(resetAfter * 1_000), maxConcurrency };
}

/** What is wrong with a number of the limits; undefined: it is fine. Milliseconds may be fractions. */
function faultOf(name: keyof typeof LEAST, value: unknown): string | undefined {
  if (value === undefined) return `with no \`session_start_limit.${name}\``;
  const [most, isWhole] = name === 'reset_after' ? [Number.MAX_SAFE_INTEGER / 1_000, false] : [LIMIT_MAX, true];
  if (typeof value === 'number' && value >= LEAST[name] && value <= most && (!isWhole || Number.isInteger(value))) return undefined;
  const shown = JSON.stringify(value);
  const cut = shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}…` : shown;
  return `with a \`session_start_limit.${name}\` of ${cut}, which must be a ${isWhole ? 'whole ' : ''}number from ${LEAST[name]} to ${Math.floor(most)}`;
}

function field(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? (of as Readonly<Record<string, unknown>>)[name] : undefined;
}
