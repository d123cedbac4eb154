import { Readable } from 'node:stream';
import type { Attempt, BackendHead, BackendSink, Forwarder, HeldRequest, RawHeaders, Sending } from '../../../src/proxy/upstream/forwarder.ts';

/** One attempt as a test plays it: what the backend would do, by hand. */
export class PlayedAttempt implements Sending {
  readonly request: HeldRequest;
  readonly url: number;
  readonly #sink: BackendSink;
  #over = false;
  /** Why it was given up. */
  aborted: Error | undefined;
  /** Bytes reached the backend. */
  sent = true;
  #begun = false;

  constructor(request: HeldRequest, url: number, sink: BackendSink) {
    this.request = request;
    this.url = url;
    this.#sink = sink;
  }

  get over(): boolean {
    return this.#over;
  }

  /** The body, read to its end. */
  async body(): Promise<string> {
    const opened = this.request.body?.open();
    if (opened === undefined) return '';
    return Buffer.from(opened instanceof Readable ? Buffer.concat(await opened.toArray()) : opened).toString('latin1');
  }

  header(name: string): string | undefined {
    const at = this.request.headers.findIndex((each, i) => i % 2 === 0 && each.toLowerCase() === name);
    return at < 0 ? undefined : this.request.headers[at + 1];
  }

  inform(status: number, headers: RawHeaders = []): void {
    this.#sink.onInformation({ status, statusText: '', headers });
  }

  head(status: number, headers: RawHeaders = []): void {
    const head: BackendHead = { status, statusText: 'Said', headers };
    this.#begun = true;
    this.#sink.onHead(head);
  }

  data(text: string, resume: () => void = () => {}): boolean {
    return this.#sink.onData(Buffer.from(text), resume);
  }

  /** A whole answer. */
  answer(status: number, headers: RawHeaders = [], body = ''): void {
    this.head(status, headers);
    if (this.over) return;
    if (body !== '') this.data(body);
    if (this.over) return;
    this.#sink.onEnd([]);
    this.#finish({ kind: 'answered', status });
  }

  end(status = 200): void {
    this.#sink.onEnd([]);
    this.#finish({ kind: 'answered', status });
  }

  fail(why: Extract<Attempt, { kind: 'failed' }>['why'], sent = true): void {
    this.#finish({ kind: 'failed', sent, why, cause: new Error(why) });
  }

  break(): void {
    this.#finish({ kind: 'broken', cause: new Error('broken') });
  }

  abort(cause: Error): void {
    if (this.over) return;
    this.aborted = cause;
    this.#finish(this.#begun ? { kind: 'broken', cause } : { kind: 'failed', sent: this.sent, why: 'aborted', cause });
  }

  #finish(attempt: Attempt): void {
    if (this.#over) return;
    this.#over = true;
    this.#sink.onAttempt(attempt);
  }
}

/** A forwarder without a network: attempts wait for a test to play them, or are played at once by `script`. */
export class PlayedForwarder implements Forwarder {
  readonly attempts: PlayedAttempt[] = [];
  script: ((attempt: PlayedAttempt) => void) | undefined;
  closed = false;

  forward(request: HeldRequest, url: number, sink: BackendSink): Sending {
    const attempt = new PlayedAttempt(request, url, sink);
    this.attempts.push(attempt);
    this.script?.(attempt);
    return attempt;
  }

  cut(): void {
    for (const attempt of this.attempts) attempt.abort(new Error('cut'));
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  /** The latest. */
  get last(): PlayedAttempt {
    const attempt = this.attempts.at(-1);
    if (attempt === undefined) throw new Error('Nothing was sent.');
    return attempt;
  }
}
