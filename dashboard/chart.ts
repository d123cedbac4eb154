import uPlot from 'uplot';
import type { ChartMarks, Series } from './series.ts';

const HEIGHT = 170;
/** What is shown, in seconds. */
const SPAN_S = 900;

/** Draws a chart into an element, in the colours of the page. */
export function drawChart(element: HTMLElement, first: Series, firstMarks: ChartMarks): { set: (series: Series, marks: ChartMarks) => void; end: () => void } {
  if (document.querySelector('link[href="chart.css"]') === null) {
    const link = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: 'chart.css' });
    document.head.append(link);
  }
  let marks = firstMarks;
  // A canvas knows no variables and no light-dark(): the browser says what they come to.
  const colour = (name: string) => (): string => {
    element.style.color = `var(${name})`;
    return getComputedStyle(element).color;
  };
  const width = (): number => element.clientWidth - 16;
  const axis = { stroke: colour('--t3'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '11px system-ui, sans-serif' };
  const minutes = (plot: uPlot, at: readonly number[]): string[] => {
    const now = plot.data[0].at(-1) ?? 0;
    return at.map((second) => (now - second < 30 ? 'now' : `${Math.round((now - second) / 60)} min`));
  };
  const tint = (plot: uPlot): void => {
    if (marks.since === undefined) return;
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(left, plot.valToPos(marks.since, 'x', true));
    plot.ctx.fillStyle = colour('--redbg')();
    plot.ctx.fillRect(from, top, left + width - from, height);
  };
  const plot = new uPlot(
    {
      ...{ width: width(), height: HEIGHT, padding: [8, 8, 0, 0] },
      legend: { live: true, markers: { show: true } },
      cursor: { drag: { x: false, y: false }, points: { size: 5 } },
      scales: { x: { time: true, range: (_, __, end) => [end - SPAN_S, end] }, y: { range: (_, __, max) => [0, Math.max(max * 1.1, 0.1)] } },
      axes: [
        { ...axis, values: minutes as uPlot.Axis.Values, splits: (_, __, ___, end) => [end - SPAN_S, end - 600, end - 300, end] },
        { ...axis, size: 40, space: 50 },
      ],
      series: [
        { value: (_, second) => (second === null ? '' : new Date(second * 1000).toTimeString().slice(0, 8)) },
        { label: 'in/s', stroke: colour('--in'), dash: [4, 3], width: 1.5 },
        { label: 'out/s', stroke: colour('--accent'), width: 1.5 },
      ],
      hooks: { drawClear: [tint] },
    },
    first as unknown as uPlot.AlignedData,
    element,
  );
  const sized = new ResizeObserver(() => plot.setSize({ width: width(), height: HEIGHT }));
  sized.observe(element);
  return {
    set(series, next) {
      marks = next;
      plot.setData(series as unknown as uPlot.AlignedData);
    },
    end() {
      sized.disconnect();
      plot.destroy();
    },
  };
}
