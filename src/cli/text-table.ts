/** Lines of a table, its head first; columns as wide as what they hold. */
export function tableLines(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const all = [head, ...rows];
  const widths = head.map((_, at) => all.reduce((widest, row) => Math.max(widest, (row[at] ?? '').length), 0));
  return all.map((row) =>
    row
      .map((instance, at) => instance.padEnd(widths[at] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** A span of milliseconds in its largest unit, as `12s`, `5m`, `3h`, `2d`. */
export function span(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)}h` : `${Math.round(seconds / 86_400)}d`;
}

/** Text from elsewhere, fit for a terminal: without controls, which could move its cursor or hide lines. */
export function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trimEnd();
}
