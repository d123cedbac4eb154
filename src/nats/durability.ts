import { setTimeout as sleep } from 'node:timers/promises';
import { NatsUnsupported } from './options.ts';

/** A monitoring page that has not answered by then is requested again. */
const ANSWER_MS = 2_000;
const RETRY_MS = 250;

/** Of `/varz`, as much as is read. */
interface ServerPage {
  readonly server_name?: string;
  readonly jetstream?: { readonly config?: { readonly sync_always?: boolean; readonly sync_interval?: number } };
}

/**
 * Resolves when every NATS server behind these monitoring addresses syncs each write to its disk before it acknowledges it
 * (`sync_interval: always`). Rejects with {@link NatsUnsupported}, one sentence with what to do: one does not, or has not answered
 * by `until`, on the clock of `performance.now`.
 */
export async function checkSynced(urls: readonly string[], until: number): Promise<void> {
  for (const { url, page } of await Promise.all(urls.map(async (each) => ({ url: each, page: await pageOf(each, until) })))) {
    if (page.jetstream?.config?.sync_always === true) continue;
    throw new NatsUnsupported(
      `NATS server ${page.server_name ?? url} acknowledges before it has synced; set sync_interval: always in its jetstream block, or cluster.durability: acknowledged.`,
    );
  }
}

async function pageOf(url: string, until: number): Promise<ServerPage> {
  for (;;) {
    try {
      const answer = await fetch(`${url.replace(/\/$/, '')}/varz`, { signal: AbortSignal.timeout(ANSWER_MS) });
      if (!answer.ok) throw new Error(`it answers ${answer.status}`);
      return (await answer.json()) as ServerPage;
    } catch (cause) {
      if (performance.now() + RETRY_MS > until) {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new NatsUnsupported(`whether NATS syncs cannot be read at ${url}: ${why}; correct cluster.monitor, or set cluster.durability: acknowledged.`, {
          cause,
        });
      }
      await sleep(RETRY_MS);
    }
  }
}
