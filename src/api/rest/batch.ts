import type { Refusal } from '../../core/refusal.ts';
import type { EngineReply, EngineStream } from '../../http/engine.ts';
import { type CallContext, isRefusal } from '../validation.ts';
import { NO_STORE, problemFor, type ResponseDeps, sendRefusal } from './response.ts';

/** Stores the request of one line: answers its ticket as members of the answer, or why not, and by which status. */
export type SubmitLine = (facts: CallContext, line: Uint8Array) => Promise<object | LineRefusal>;

/** Why a line was refused. */
export interface LineRefusal extends Refusal {
  /** In place of the table's. */
  readonly status?: number | undefined;
}

/** What a batch needs. */
export interface BatchDeps extends ResponseDeps {
  readonly submitLine: SubmitLine;
  readonly onError: (error: unknown) => void;
}

/** Lines of one batch. */
export const BATCH_LINES_MAX = 10_000;
/** Longest line. */
export const LINE_BYTES_MAX = 2 << 20;
/** Lines, and bytes of lines, of one batch that are being stored at once. */
const IN_FLIGHT_MAX = 256;
const IN_FLIGHT_BYTES_MAX = 8 << 20;
/** A longer line is stored by itself: its body goes to the store in pieces, and the lines behind it may not overtake it. */
const PIECES_BYTES = 64 << 10;

const NDJSON: readonly (readonly [string, string])[] = [['Content-Type', 'application/x-ndjson'], NO_STORE];

/** Whether a content type means that a body holds a JSON value on each line. */
export function isBatch(contentType: string | undefined): boolean {
  const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase();
  return type === 'application/x-ndjson' || type === 'application/ndjson' || type === 'application/jsonl';
}

/**
 * Stores a batch of requests, one JSON object a line, in the order of its lines, and answers a line for each, in order, as soon as it is
 * safely stored or refused. A line that fails does so alone; nothing is stored where the batch itself has too many lines or none. Lines
 * that were not yet taken when the caller leaves are dropped.
 */
export function submitBatch(deps: BatchDeps, facts: CallContext, body: Uint8Array, reply: EngineReply): void {
  const lines = linesOf(body);
  if (lines === undefined) return void sendRefusal(reply, deps, { reason: 'too_large', detail: `A batch may have at most ${BATCH_LINES_MAX} lines.` });
  if (lines.length === 0) return void sendRefusal(reply, deps, { reason: 'malformed', detail: 'The batch is empty; send one JSON object a line.' });
  new Batch(deps, facts, reply).run(lines).catch(deps.onError);
}

interface Line {
  /** 1 for the first, empty ones counted. */
  readonly number: number;
  readonly bytes: Uint8Array;
}

/** Splits at line feeds; lines of white space are passed over. undefined: too many. */
function linesOf(body: Uint8Array): readonly Line[] | undefined {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const lines: Line[] = [];
  for (let at = 0, number = 1; at < text.length; number++) {
    const end = text.indexOf(0x0a, at);
    const bytes = text.subarray(at, end < 0 ? text.length : end);
    at = end < 0 ? text.length : end + 1;
    if (isBlank(bytes)) continue;
    if (lines.length >= BATCH_LINES_MAX) return undefined;
    lines.push({ number, bytes });
  }
  return lines;
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0x20 || byte === 0x09 || byte === 0x0d);
}

class Batch {
  readonly #deps: BatchDeps;
  readonly #facts: CallContext;
  readonly #stream: EngineStream;
  /** Answers to come, in the order of their lines. */
  readonly #answers: { readonly text: Promise<string>; readonly bytes: number }[] = [];
  #bytes = 0;
  #gone = false;

  constructor(deps: BatchDeps, facts: CallContext, reply: EngineReply) {
    this.#deps = deps;
    this.#facts = facts;
    reply.onGone(() => {
      this.#gone = true;
    });
    this.#stream = reply.stream(200, NDJSON);
  }

  async run(lines: readonly Line[]): Promise<void> {
    let alone = false;
    for (const line of lines) {
      const bytes = line.bytes.byteLength;
      const before = alone;
      alone = bytes > PIECES_BYTES;
      while (this.#answers.length > 0 && (before || alone || this.#answers.length >= IN_FLIGHT_MAX || this.#bytes + bytes > IN_FLIGHT_BYTES_MAX)) {
        await this.#writeNext();
      }
      if (this.#gone) return;
      this.#bytes += bytes;
      this.#answers.push({ text: this.#answer(line), bytes });
    }
    while (this.#answers.length > 0 && !this.#gone) await this.#writeNext();
    this.#stream.end();
  }

  async #writeNext(): Promise<void> {
    const next = this.#answers.shift();
    if (next === undefined) return;
    const text = await next.text;
    this.#bytes -= next.bytes;
    if (!this.#gone && !this.#stream.write(text)) this.#gone = true;
  }

  async #answer({ number, bytes }: Line): Promise<string> {
    const stored = await this.#stored(bytes);
    if (!isRefusal(stored)) return `${JSON.stringify({ line: number, status: 202, ...stored })}\n`;
    const { problem } = problemFor(this.#deps, stored, undefined, (stored as LineRefusal).status);
    return `${JSON.stringify({ line: number, status: problem.status, problem })}\n`;
  }

  async #stored(bytes: Uint8Array): Promise<object | LineRefusal> {
    if (bytes.byteLength > LINE_BYTES_MAX)
      return { reason: 'too_large', detail: `A line may be at most ${LINE_BYTES_MAX} bytes; send this request by itself.` };
    try {
      return await this.#deps.submitLine(this.#facts, bytes);
    } catch (error) {
      this.#deps.onError(error);
      return { reason: 'fault' };
    }
  }
}
