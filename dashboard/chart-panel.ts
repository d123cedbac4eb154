import type { VNode } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { serverNow } from './api.ts';
import type { ApiHistory } from './group.ts';
import { html } from './html.ts';
import { type ChartMarks, type Series, seriesOf } from './series.ts';
import { type Millis, spanText } from './text.ts';

/** Arrivals beside admissions of 15 minutes; the library is loaded when a group is opened. */
export function Chart({
  history,
  last,
  stuck,
}: {
  readonly history: ApiHistory | undefined;
  readonly last: Millis | undefined;
  readonly stuck: boolean;
}): VNode {
  const element = useRef<HTMLDivElement>(null);
  const drawn = useRef<{ set: (series: Series, marks: ChartMarks) => void; end: () => void } | null>(null);
  const series = seriesOf(history);
  const marks: ChartMarks = { since: stuck && last !== undefined ? last / 1000 : undefined };
  const latest = useRef({ series, marks });
  latest.current = { series, marks };
  const shown = series !== undefined;
  useEffect(() => {
    if (!shown) return undefined;
    let over = false;
    void import('./chart.ts').then(({ drawChart }) => {
      const { series: first, marks: with_ } = latest.current;
      if (!over && element.current !== null && first !== undefined) drawn.current = drawChart(element.current, first, with_);
    });
    return () => {
      over = true;
      drawn.current?.end();
    };
  }, [shown]);
  const stamp = series?.[0].at(-1);
  useEffect(() => {
    if (series !== undefined) drawn.current?.set(series, marks);
  }, [stamp, series?.[2].at(-1), series?.[1].at(-1), marks.since]);
  if (!shown) return html`<p class="none">not known: the server keeps no history of this group</p>`;
  return html`<div class="chart" ref=${element} role="img" aria-label="Arrivals and admissions a second in the last 15 minutes" />
    ${stuck && last !== undefined && html`<p class="t2 r lastadm">last admission ${spanText(serverNow() - last)} ago</p>`}`;
}
