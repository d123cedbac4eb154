/**
 * Highest random weight: an order of `names` for each `subject`, the same wherever it is computed, in which a name that
 * comes or goes moves no other (Thaler and Ravishankar 1998).
 */
export function rendezvous(subject: string, names: readonly string[]): readonly string[] {
  const weighted = names.map((name) => ({ name, weight: weightOf(subject, name) }));
  weighted.sort((a, b) => b.weight - a.weight || (a.name < b.name ? -1 : 1));
  return weighted.map(({ name }) => name);
}

/** FNV-1a, with murmur3's last steps: neighbouring names get unlike weights. */
export function weightOf(subject: string, name: string): number {
  const text = `${subject}\n${name}`;
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
