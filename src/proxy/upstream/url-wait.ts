import { type Micros, plus } from '../../core/time.ts';
import type { ForwardedRequestDeps } from '../request-admission.ts';
import type { Backend } from './backend.ts';

/** Reports that a request waits for a URL no longer: the line was full (`shed`), or its wait timeout is over (`expired`). */
export type UrlWaitEnd = (reason: 'shed' | 'expired') => void;

/** What a wait needs to know of its request. */
type WaitingRequest = Pick<ForwardedRequestDeps<unknown>, 'deps' | 'incoming' | 'route'>;

/**
 * Bounds the time that a request waits in line for a URL of its backend: by the wait timeout that is left of it, or, on a route without a
 * group, by `Prefer: wait`, else by `queue.wait` of the backend. A request sent for a permit of its own has a timeout of its own.
 */
export class UrlWait {
  #cancel: (() => void) | undefined;

  /** Called right after the request entered the line. May report before it returns. */
  begin(of: WaitingRequest, line: Backend, left: Micros, onEnd: UrlWaitEnd): void {
    const { deps, incoming } = of;
    if (incoming.sent !== undefined) return;
    const { queue } = line.spec;
    if (line.choice.waiting > queue.requestsMax) return onEnd('shed');
    const wait = of.route.admission === undefined ? (incoming.wait ?? queue.wait) : left;
    this.#cancel = deps.clock.at(plus(deps.clock.now(), wait), () => {
      this.#cancel = undefined;
      onEnd('expired');
    });
  }

  /** Called when it has a URL, or is given up. */
  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}
