import { MILLISECOND } from '../core/time.ts';
import type { TunnelSink, WayEnd } from './forwarding.ts';
import { addResponseHeaders, requestHeaders } from './headers.ts';
import type { ForwardFailure, ForwardHandle } from './incoming.ts';
import type { PermitHandle } from './permit-handle.ts';
import { type ForwardedRequestDeps, RequestAdmission } from './request-admission.ts';
import { parseRetryAfter } from './retry-after.ts';
import { dialsEnough, lineRefusal } from './retry-policy.ts';
import type { Backend } from './upstream/backend.ts';
import type { UrlReservation, UrlWaiter } from './upstream/load-balancer.ts';
import { UrlWait } from './upstream/url-wait.ts';

/** An upgrade on its way to a backend's URL: admitted as any request, its slot held until the tunnel ends. */
export class UpgradeRequest implements ForwardHandle, UrlWaiter {
  readonly #all: ForwardedRequestDeps<TunnelSink>;
  readonly #requestAdmission: RequestAdmission;
  #line: Backend;
  #pass: PermitHandle | undefined;
  #turn: UrlReservation | undefined;
  /** The way was handed out: its end is the listener's. */
  #handed = false;
  #url = NO_URL;
  readonly #wait = new UrlWait();
  /** URLs that could not be connected to. */
  readonly #refused = new Set<number>();
  #dials = 0;
  #over = false;

  constructor(all: ForwardedRequestDeps<TunnelSink>) {
    this.#all = all;
    this.#line = all.line;
    this.#requestAdmission = new RequestAdmission(all, {
      onAdmitted: (pass) => this.#admitted(pass),
      onNone: (why) => this.#none(why),
      onGone: () => this.leave(),
      // A WebSocket cannot be stored, and has no deferral.
      onDeferred: () => this.leave(),
      onLost: (cause) => (this.#handed ? all.sink.onLost(cause) : this.#none({ kind: 'refused', refusal: { reason: 'fenced' }, attempts: 0 })),
    });
  }

  /** Begins; the sink may be called before this returns. */
  begin(): void {
    this.#requestAdmission.begin();
  }

  leave(): void {
    if (this.#over || this.#handed) return;
    this.#requestAdmission.leave();
    this.#finish(NOTHING_SENT);
  }

  onUrl(url: number): void {
    this.#url = url;
    this.#wait.end();
    // Else it is known before it is waited for.
    if (this.#turn !== undefined) this.#hand();
  }

  onNoUrl(): void {
    this.#turn = undefined;
    this.#wait.end();
    const cause = new Error('No URL of this backend can be connected to.');
    this.#none({ kind: 'failed', status: 503, detail: 'No connection to the backend; it has not seen the request.', attempts: this.#dials, cause });
  }

  #admitted(pass: PermitHandle | undefined): void {
    this.#pass = pass;
    this.#line = this.#line.moved();
    this.#choose();
  }

  #choose(): void {
    this.#url = NO_URL;
    this.#turn = this.#line.choice.take(this.#all.deps.clock.now(), this.#refused, this, this.#refused);
    if (this.#url !== NO_URL) this.#hand();
    else if (this.#turn === undefined) this.onNoUrl();
    else this.#wait.begin(this.#all, this.#line, this.#requestAdmission.left, (reason) => this.#none(lineRefusal(reason, this.#dials)));
  }

  #hand(): void {
    const { deps, incoming, sink, route } = this.#all;
    const line = this.#line;
    const lease = this.#pass?.permit.lease;
    const fence = lease === undefined ? undefined : { fence: lease.fence, floor: lease.fenceFloor };
    const attempt = this.#dials + 1;
    const headers = requestHeaders(incoming.headers, { facts: incoming.facts, attempt, fence, drops: route.drops, traceparent: deps.traceparent });
    if (headers === undefined) return this.#none({ kind: 'malformed', detail: 'A header of this request holds a control character or a name that is none.' });
    this.#handed = true;
    this.#dials = attempt;
    const now = deps.clock.now();
    const queued = this.#requestAdmission.queuedUntil(now);
    sink.onWay({
      url: line.spec.urls[this.#url] ?? '',
      spec: line.spec,
      headers,
      added: addResponseHeaders([], queued === undefined ? undefined : queued / MILLISECOND, attempt, this.#pass),
      responding: () => this.#turn?.responding(),
      end: (how) => this.#ended(how),
    });
  }

  #ended(how: WayEnd): boolean {
    if (this.#over) return false;
    const { deps, route } = this.#all;
    if (!how.sent) this.#refused.add(this.#url);
    if (how.sent || how.ok || dialsEnough(this.#refused.size, route.admission === undefined ? undefined : this.#requestAdmission.left)) {
      this.#finish(how);
      return false;
    }
    // Nothing was sent: another URL, with the same permit; each is dialled once.
    this.#handed = false;
    const turn = this.#turn;
    this.#turn = undefined;
    turn?.end(deps.clock.now(), 'failed');
    this.#choose();
    return true;
  }

  #none(why: ForwardFailure): void {
    if (this.#over) return;
    this.#finish(NOTHING_SENT);
    this.#all.sink.onNone(why);
  }

  #finish({ sent, ok, pushback }: WayEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#wait.end();
    const { deps, route } = this.#all;
    this.#turn?.end(deps.clock.now(), !ok ? 'failed' : sent ? 'well' : 'unknown');
    if (!sent) this.#pass?.rollback();
    else if (pushback === undefined) void this.#pass?.release(undefined);
    else {
      const hint = parseRetryAfter(pushback, deps.clock.epoch(deps.clock.now()));
      if (hint !== undefined) deps.events({ kind: 'pushback', route: route.name, backend: this.#line.spec.name, retryAfter: hint, replayed: false });
      void this.#pass?.releasePushedBack(hint);
    }
    this.#all.over(this.#line);
  }
}

const NO_URL = -1;
const NOTHING_SENT: WayEnd = { sent: false, ok: true };
