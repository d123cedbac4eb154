import { MILLISECOND } from '../core/time.ts';
import { Admittance } from './admittance.ts';
import type { BackendLine } from './backend-line.ts';
import type { Turn } from './backends.ts';
import type { TunnelSink } from './forwarding.ts';
import { addToAnswer, requestHeaders } from './headers.ts';
import type { Delivery, NoAnswer } from './incoming.ts';
import type { Pass } from './pass.ts';
import type { RunParts } from './run-parts.ts';

/** An upgrade on its way to a backend's URL: admitted as any request, its slot held until the tunnel ends. */
export class TunnelRun implements Delivery {
  readonly #all: RunParts<TunnelSink>;
  readonly #admittance: Admittance;
  #line: BackendLine;
  #pass: Pass | undefined;
  #turn: Turn | undefined;
  /** The way was handed out: its end is the listener's. */
  #handed = false;
  #over = false;

  constructor(all: RunParts<TunnelSink>) {
    this.#all = all;
    this.#line = all.line;
    this.#admittance = new Admittance(all, {
      onAdmitted: (pass) => this.#admitted(pass),
      onNone: (why) => this.#none(why),
      onGone: () => this.leave(),
      onLost: (cause) => (this.#handed ? all.sink.onLost(cause) : this.#none({ kind: 'refused', refusal: { reason: 'fenced' }, attempts: 0 })),
    });
  }

  /** Begins; the sink may be told before this returns. */
  begin(): void {
    this.#admittance.begin();
  }

  leave(): void {
    if (this.#over || this.#handed) return;
    this.#admittance.leave();
    this.#finish(false, true);
  }

  #admitted(pass: Pass | undefined): void {
    this.#pass = pass;
    const { parts } = this.#all;
    this.#line = this.#line.moved();
    const line = this.#line;
    let url: number | undefined;
    const onUrl = (found: number): void => {
      url = found;
      if (this.#turn !== undefined) this.#hand(found);
    };
    const turn = line.choice.take(parts.clock.now(), new Set(), { onUrl });
    this.#turn = turn;
    if (url !== undefined) this.#hand(url);
  }

  #hand(url: number): void {
    const { parts, incoming, sink } = this.#all;
    const line = this.#line;
    const lease = this.#pass?.permit.lease;
    const fence = lease === undefined ? undefined : { fence: lease.fence, floor: lease.fenceFloor };
    const headers = requestHeaders(incoming.headers, { facts: incoming.facts, attempt: 1, fence, traceparent: parts.traceparent });
    if (headers === undefined) return this.#none({ kind: 'malformed', detail: 'A header of this request holds a control character or a name that is none.' });
    this.#handed = true;
    const queued = this.#admittance.queuedUntil(parts.clock.now());
    sink.onWay({
      url: line.spec.urls[url] ?? '',
      spec: line.spec,
      headers,
      added: addToAnswer([], queued === undefined ? undefined : queued / MILLISECOND, 1, this.#pass),
      end: ({ sent, ok }) => this.#finish(sent, ok),
    });
  }

  #none(why: NoAnswer): void {
    if (this.#over) return;
    this.#finish(false, true);
    this.#all.sink.onNone(why);
  }

  #finish(sent: boolean, ok: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#turn?.end(this.#all.parts.clock.now(), !ok ? 'failed' : sent ? 'well' : 'unknown');
    if (sent) void this.#pass?.used(undefined);
    else this.#pass?.unused();
    this.#all.over(this.#line);
  }
}
