import { firstHeader } from './headers.ts';
import type { IncomingRequest } from './incoming.ts';
import type { Source } from './route.ts';
import { decodeText, queryValue } from './text.ts';

/** The text a source names; '' where the request has none. */
export function readValue(source: Source, { headers, target, facts }: Pick<IncomingRequest, 'headers' | 'target' | 'facts'>): string {
  switch (source.from) {
    case 'header':
      return decodeText(firstHeader(headers, source.name) ?? '');
    case 'path':
      return facts.params.get(source.name) ?? '';
    case 'query': {
      const at = target.indexOf('?');
      return at < 0 ? '' : (queryValue(target.slice(at + 1), source.name) ?? '');
    }
    case 'caller':
      return facts.caller;
    case 'client_ip':
      return facts.clientIp;
    case 'value':
      return source.value;
  }
}
